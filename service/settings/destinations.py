"""Destinations: PACS that receive outputs, over DIMSE or DICOMweb."""

from pathlib import Path
from typing import Annotated, Self
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
from service.settings.sections import DicomPeer, Section
from service.settings.types import (
    AETitle,
    Seconds,
    require_bearer_token,
    require_web_url,
)


class Destination(Section):
    """A receiver of outputs: which kinds, and for which outcomes."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    outputs: Annotated[tuple[OutputKind, ...], Field(min_length=1)] = (
        OutputKind.SR,
        OutputKind.OVERLAY,
    )
    outcomes: tuple[Outcome, ...] = (Outcome.PRESENT, Outcome.ABSENT, Outcome.INDETERMINATE)
    connect_seconds: Seconds = 5
    response_seconds: Seconds = 60


class DimseDestination(Destination, DicomPeer):
    """A PACS that receives outputs over C-STORE, with storage commitment where that is set."""

    calling_ae_title: AETitle | None = None
    storage_commitment: bool = False
    commitment_seconds: Seconds = 3600


class WebDestination(Destination):
    """A PACS that receives outputs over DICOMweb (STOW-RS, PS3.18 10.5)."""

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


def _protocol(value: object) -> str:
    """Return the kind of destination: DICOMweb where it has a `url`, else DIMSE."""
    is_web = isinstance(value, WebDestination) or (isinstance(value, dict) and "url" in value)
    return "dicomweb" if is_web else "dimse"


AnyDestination = Annotated[
    Annotated[DimseDestination, Tag("dimse")] | Annotated[WebDestination, Tag("dicomweb")],
    Discriminator(_protocol),
]


def require_unique_names(
    destinations: tuple[DimseDestination | WebDestination, ...],
) -> tuple[DimseDestination | WebDestination, ...]:
    """Require that no two destinations have the same name."""
    names = [each.name for each in destinations]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two have the name {name!r}")
    return destinations
