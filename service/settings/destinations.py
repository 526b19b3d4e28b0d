"""Destinations: PACS that receive outputs, and receivers of messages about reports."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    model_validator,
)

from service.domain.routing import Outcome, OutputKind
from service.settings.loopback import is_loopback
from service.settings.secrets import SecretFile
from service.settings.sections import DicomPeer, Section, TlsPeer
from service.settings.types import (
    AETitle,
    EmailAddress,
    Hl7Name,
    MailboxName,
    Seconds,
    require_bearer_token,
    require_signing_key,
    require_uri,
    require_web_url,
)


class Destination(Section):
    """A receiver of outputs: which kinds, and for which outcomes."""

    kind: str
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    outputs: Annotated[tuple[OutputKind, ...], Field(min_length=1)] = (
        OutputKind.SR,
        OutputKind.OVERLAY,
    )
    outcomes: tuple[Outcome, ...] = (Outcome.PRESENT, Outcome.ABSENT, Outcome.INDETERMINATE)
    connect_seconds: Seconds = 5
    response_seconds: Seconds = 60
    associations: Annotated[int, Field(ge=1, le=16)] = 4


class DimseDestination(Destination, DicomPeer):
    """A PACS that receives outputs over C-STORE, with storage commitment where that is set."""

    kind: Literal["dimse"] = "dimse"
    calling_ae_title: AETitle | None = None
    storage_commitment: bool = False
    commitment_seconds: Seconds = 3600


class WebPeer(Section):
    """A web service that is sent requests, with a token or a certificate where that is set."""

    url: Annotated[str, AfterValidator(require_web_url)]
    bearer_token: Annotated[SecretStr, AfterValidator(require_bearer_token)] | None = None
    bearer_token_file: SecretFile | None = None
    ca_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: SecretFile | None = None

    @model_validator(mode="after")
    def _one_credential_of_a_kind(self) -> Self:
        if self.bearer_token is not None and self.bearer_token_file is not None:
            raise ValueError("set bearer_token or bearer_token_file, not both")
        if self.client_key_file is not None and self.client_certificate_file is None:
            raise ValueError("client_key_file needs a client_certificate_file")
        return self

    @model_validator(mode="after")
    def _secrets_stay_secret(self) -> Self:
        if self.is_encrypted:
            return self
        if self.ca_file is not None or self.client_certificate_file is not None:
            raise ValueError("ca_file and client_certificate_file need a url that is https://")
        with_token = self.bearer_token is not None or self.bearer_token_file is not None
        if with_token and not self.is_on_this_machine:
            raise ValueError("a bearer token over http:// can be read in transit: use https://")
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether it is reached over TLS."""
        return self.url.startswith("https:")

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it runs on this machine, so that nothing sent to it leaves it."""
        return is_loopback(urlsplit(self.url).hostname or "")


class WebDestination(Destination, WebPeer):
    """A PACS that receives outputs over DICOMweb (STOW-RS, PS3.18 10.5)."""

    kind: Literal["dicomweb"] = "dicomweb"


class MessageDestination(Destination):
    """A receiver of one message about each report, which is made of the report."""

    outputs: tuple[Literal[OutputKind.SR]] = (OutputKind.SR,)
    associations: Annotated[int, Field(ge=1, le=16)] = 1
    template_file: Path | None = None


class WebhookDestination(MessageDestination, WebPeer):
    """A web service that receives a CloudEvent (CloudEvents 1.0, its HTTP binding)."""

    kind: Literal["webhook"] = "webhook"
    content_mode: Literal["structured", "binary"] = "structured"
    event_source: Annotated[str, AfterValidator(require_uri)] = "urn:lobar"
    event_type: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")] = "lobar.report.v1"
    include_patient: bool = False
    signing_key: Annotated[SecretStr, AfterValidator(require_signing_key)] | None = None
    signing_key_file: SecretFile | None = None

    @model_validator(mode="after")
    def _one_signing_key(self) -> Self:
        if self.signing_key is not None and self.signing_key_file is not None:
            raise ValueError("set signing_key or signing_key_file, not both")
        return self


class Hl7Destination(MessageDestination, TlsPeer):
    """A receiver of HL7 v2 messages (ORU^R01) over MLLP."""

    kind: Literal["hl7"] = "hl7"
    sending_application: Hl7Name = "LOBAR"
    sending_facility: Hl7Name = ""
    receiving_application: Hl7Name = ""
    receiving_facility: Hl7Name = ""
    processing_id: Literal["P", "T", "D"] = "P"


class FhirDestination(MessageDestination, WebPeer):
    """A FHIR R4 server, which receives a DiagnosticReport and its Observations."""

    kind: Literal["fhir"] = "fhir"
    write: Literal["transaction", "resources"] = "transaction"
    patient_id_system: Annotated[str, AfterValidator(require_uri)] | None = None
    accession_number_system: Annotated[str, AfterValidator(require_uri)] | None = None


class EmailDestination(MessageDestination, TlsPeer):
    """A mail server that takes an e-mail about each report (SMTP)."""

    kind: Literal["email"] = "email"
    start_tls: bool = True
    user: MailboxName | None = None
    password: SecretStr | None = None
    password_file: SecretFile | None = None
    sender: EmailAddress
    recipients: Annotated[tuple[EmailAddress, ...], Field(min_length=1, max_length=100)]
    include_patient: bool = False
    page_url: Annotated[str, AfterValidator(require_web_url)] | None = None

    @model_validator(mode="after")
    def _sign_in_is_whole(self) -> Self:
        given = [each for each in (self.password, self.password_file) if each is not None]
        if len(given) != (self.user is not None):
            raise ValueError("user needs a password or a password_file, and each of them a user")
        return self

    @model_validator(mode="after")
    def _secrets_stay_secret(self) -> Self:
        if self.tls or is_loopback(self.host):
            return self
        if self.user is not None:
            raise ValueError("a password without tls can be read in transit: set tls to true")
        if self.include_patient:
            raise ValueError("include_patient needs tls, or patient data can be read in transit")
        return self


KINDS: Final = ("dimse", "dicomweb", "webhook", "hl7", "fhir", "email")
"""The kinds of destination: the values of `kind`."""


def _kind(value: object) -> str:
    """Return the kind of destination: that named, else DICOMweb with a `url` and DIMSE without."""
    if isinstance(value, Destination):
        return value.kind
    if not isinstance(value, dict):
        return "dimse"
    named = value.get("kind")
    return str(named) if named is not None else "dicomweb" if "url" in value else "dimse"


AnyDestination = Annotated[
    Annotated[DimseDestination, Tag("dimse")]
    | Annotated[WebDestination, Tag("dicomweb")]
    | Annotated[WebhookDestination, Tag("webhook")]
    | Annotated[Hl7Destination, Tag("hl7")]
    | Annotated[FhirDestination, Tag("fhir")]
    | Annotated[EmailDestination, Tag("email")],
    Discriminator(
        _kind,
        custom_error_type="destination_kind",
        custom_error_message=f"kind is one of {', '.join(KINDS)}",
    ),
]


def require_unique_names(destinations: tuple[Destination, ...]) -> tuple[Destination, ...]:
    """Require that no two destinations have the same name."""
    names = [each.name for each in destinations]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two have the name {name!r}")
    return destinations
