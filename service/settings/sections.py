"""The sections of `lobar.toml`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import (
    NoDecode,
)

from service.dicom.secure_transport import OwnCertificate
from service.dicom.sop_classes import DEFAULT_SOP_CLASSES, sop_class_uid
from service.domain.user import Role
from service.settings.secrets import SecretFile, require_one_password
from service.settings.types import (
    AETitle,
    HeaderName,
    Host,
    Port,
    Seconds,
    parse_certificate_name,
    parse_json,
    parse_list,
    require_callback_url,
    require_issuer,
    require_ledger_url,
    require_network,
    require_redis_url,
)

SHIPPED_BUNDLE: Final = Path(__file__).resolve().parents[2] / "monai_bundle"

_CORES_FOR_A_LISTENER: Final = 2
_LISTENERS_OF_FEW_CORES: Final = 2  # where there is more than one core
_MOST_LISTENERS: Final = 4


def own_certificate(certificate_file: Path | None, key_file: Path | None) -> OwnCertificate | None:
    """Return the certificate that two settings name; None if they name none."""
    if certificate_file is None:
        return None
    return OwnCertificate(certificate_file=certificate_file, key_file=key_file)


class Section(BaseModel):
    """A frozen part of the settings; an unknown name in it is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class TlsPeer(Section):
    """A peer to which connections are opened, over TLS where that is set."""

    host: Host
    port: Port
    tls: bool = False
    tls_ca_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: SecretFile | None = None
    tls_verify_name: bool = True
    tls_name: Host | None = None

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        files = (self.tls_ca_file, self.tls_certificate_file, self.tls_key_file, self.tls_name)
        if not self.tls and any(each is not None for each in files):
            raise ValueError("the settings of TLS have no effect without tls = true")
        if self.tls_key_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_key_file needs a tls_certificate_file")
        if self.tls_name is not None and not self.tls_verify_name:
            raise ValueError("tls_name has no effect where tls_verify_name is false")
        if self.tls and not self.tls_verify_name and self.tls_ca_file is None:
            raise ValueError(
                "without tls_verify_name, anyone with a certificate of any authority that the "
                "system trusts could be this peer: set tls_ca_file"
            )
        return self

    @property
    def own_certificate(self) -> OwnCertificate | None:
        """The certificate to show there; None if there is none."""
        return own_certificate(self.tls_certificate_file, self.tls_key_file)


class DicomPeer(TlsPeer):
    """An application entity to which associations are opened."""

    ae_title: AETitle


class CommitmentPeer(DicomPeer):
    """A sender that receives commitment results at this address."""

    @property
    def calling_ae_title(self) -> None:
        """The calling AE title to use with this peer alone: none."""

    @property
    def connect_seconds(self) -> float:
        """The time limit of a connection."""
        return 5

    @property
    def response_seconds(self) -> float:
        """The time limit of each response."""
        return 60


class DicomSender(Section):
    """A rule for one sender: its AE title, and where it must come from and as whom, if that counts.

    A certificate is named by a name in it, or by its SHA-256 fingerprint.
    """

    ae_title: AETitle
    networks: Annotated[
        tuple[Annotated[str, AfterValidator(require_network)], ...],
        NoDecode,
        BeforeValidator(parse_list),
    ] = ()
    certificate: Annotated[str, AfterValidator(parse_certificate_name)] | None = None


class DicomSettings(Section):
    """The listener: who may send what, and how much at the same time."""

    ae_title: AETitle = "LOBAR"
    host: Host = "127.0.0.1"
    port: Port = 11112
    tls_certificate_file: Path | None = None
    tls_key_file: SecretFile | None = None
    tls_ca_file: Path | None = None
    tls_client_certificate: Literal["required", "optional", "none"] | None = None
    tls_host: Host | None = None
    tls_port: Port | None = None
    senders: Annotated[tuple[DicomSender, ...], NoDecode, BeforeValidator(parse_json)] = ()
    allowed_calling_ae_titles: Annotated[
        tuple[AETitle, ...], NoDecode, BeforeValidator(parse_list)
    ] = ()
    allow_any_calling_ae_title: bool = False
    urgent_calling_ae_titles: Annotated[
        tuple[AETitle, ...], NoDecode, BeforeValidator(parse_list)
    ] = ()
    require_called_ae_title: bool = False
    sop_classes: Annotated[
        tuple[Annotated[str, AfterValidator(sop_class_uid)], ...],
        NoDecode,
        BeforeValidator(parse_list),
    ] = Field(default=DEFAULT_SOP_CLASSES, min_length=1, validate_default=True)
    processes: Annotated[int, Field(ge=1, le=16)] | None = None
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 100
    maximum_associations_per_ae: Annotated[int, Field(ge=1, le=1000)] = 64
    maximum_associations_per_address: Annotated[int, Field(ge=1, le=1000)] = 64
    maximum_connections: Annotated[int, Field(ge=1, le=60_000)] = 1024
    maximum_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 128 * 1024
    negotiation_seconds: Seconds = 5
    acse_seconds: Seconds = 30
    network_seconds: Seconds = 60
    message_seconds: Seconds = 1800
    minimum_bytes_per_second: Annotated[int, Field(ge=0)] = 1024
    maximum_instance_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 30
    commitment_peers: Annotated[
        tuple[CommitmentPeer, ...], NoDecode, BeforeValidator(parse_json)
    ] = ()

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if self.tls_certificate_file is None:
            others = {"tls_key_file", "tls_ca_file", "tls_host", "tls_port"}
            for name in sorted(others | {"tls_client_certificate"}):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} needs a tls_certificate_file")
        if self.asks_for_certificates and self.tls_ca_file is None:
            raise ValueError(
                f"tls_client_certificate {self.tls_client_certificate} needs a tls_ca_file"
            )
        if self.tls_port is None and self.tls_host is not None:
            raise ValueError("tls_host needs a tls_port: without one, all that listens is TLS")
        if self.tls_port == self.port and self.tls_host in {None, self.host}:
            raise ValueError(
                "tls_port must differ from port. Leave it out to accept TLS alone, on port"
            )
        return self

    @model_validator(mode="after")
    def _senders_count(self) -> Self:
        if self.senders and self.allow_any_calling_ae_title:
            raise ValueError("senders has no effect where allow_any_calling_ae_title is true")
        with_certificate = [each.ae_title for each in self.senders if each.certificate is not None]
        if with_certificate and not self.asks_for_certificates:
            raise ValueError(
                f"the sender {with_certificate[0]} is to show a certificate, for which the "
                "listener does not ask: set tls_certificate_file and tls_ca_file"
            )
        return self

    @property
    def listeners(self) -> int:
        """How many processes receive: `processes`, or as many as suit the cores."""
        cores = len(os.sched_getaffinity(0))
        least = min(cores, _LISTENERS_OF_FEW_CORES)
        return self.processes or max(least, min(_MOST_LISTENERS, cores // _CORES_FOR_A_LISTENER))

    @property
    def artim_seconds(self) -> float:
        """The ARTIM timer (PS3.8 9.1.5): the smaller of its two settings."""
        return min(self.negotiation_seconds, self.acse_seconds)

    @property
    def own_certificate(self) -> OwnCertificate | None:
        """The certificate that the listener shows; None: it speaks no TLS."""
        return own_certificate(self.tls_certificate_file, self.tls_key_file)

    @property
    def client_certificate(self) -> Literal["required", "optional", "none"]:
        """Whether senders are asked for a certificate over TLS; they are where a CA is given."""
        return self.tls_client_certificate or ("required" if self.tls_ca_file else "none")

    @property
    def asks_for_certificates(self) -> bool:
        """Whether senders over TLS can show who they are by a certificate."""
        return self.client_certificate != "none"

    @property
    def plain_address(self) -> tuple[str, int] | None:
        """The host and port for associations without TLS; None if all are over TLS."""
        if self.tls_certificate_file is not None and self.tls_port is None:
            return None
        return self.host, self.port

    @property
    def tls_address(self) -> tuple[str, int] | None:
        """The host and port for associations over TLS; None if there are none."""
        if self.tls_certificate_file is None:
            return None
        return self.tls_host or self.host, self.tls_port or self.port

    @property
    def known_calling_ae_titles(self) -> tuple[str, ...]:
        """The calling AE titles that any rule names."""
        titles = (*self.allowed_calling_ae_titles, *(each.ae_title for each in self.senders))
        return tuple(dict.fromkeys(titles))


class SpoolSettings(Section):
    """The disk that holds received bytes and reports."""

    reserve_bytes: Annotated[int, Field(ge=0)] = 512 << 20
    keep_days: Annotated[float, Field(gt=0)] = 7
    maximum_bytes: Annotated[int, Field(ge=1 << 20)] | None = None


class LedgerSettings(Section):
    """The ledger: SQLite in the state directory unless a PostgreSQL URL is given."""

    url: Annotated[str, AfterValidator(require_ledger_url)] | None = None
    password_file: SecretFile | None = None
    keep_days: Annotated[float, Field(gt=0)] = 365
    received_at_once: Annotated[int, Field(ge=1, le=1000)] = 64

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        require_one_password(self.url, self.password_file)
        return self


class RedisSettings(Section):
    """The queue that wakes the workers; without a URL `lobar up` starts a Valkey of its own."""

    url: Annotated[str, AfterValidator(require_redis_url)] | None = None
    password_file: SecretFile | None = None

    @model_validator(mode="after")
    def _one_password(self) -> Self:
        require_one_password(self.url, self.password_file)
        return self


class RelaySettings(Section):
    """How often the relay queries the ledger for due work."""

    interval_seconds: Seconds = 1
    sweep_seconds: Seconds = 600


class BundleSettings(Section):
    """The MONAI bundle and the device that it runs on."""

    path: Path = SHIPPED_BUNDLE
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    engine: Literal["auto", "torch", "openvino"] = "auto"
    engines: Path | None = None
    operating_point: str | None = None
    report_populations: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_list)] = ()


class ShadowSettings(Section):
    """A second bundle that reads the same instances; what it says is kept and never sent."""

    path: Path | None = None
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    operating_point: str | None = None
    report_populations: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_list)] = ()
    share: Annotated[float, Field(gt=0, le=1)] = 1
    promoted: bool = False

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.path is None and self.promoted:
            raise ValueError("promoted needs a path: the bundle that is to report")
        return self

    @property
    def bundle(self) -> BundleSettings | None:
        """The second bundle, as the settings of one; None if there is none."""
        if self.path is None:
            return None
        return BundleSettings(
            path=self.path,
            digest=self.digest,
            device=self.device,
            operating_point=self.operating_point,
            report_populations=self.report_populations,
        )

    def takes(self, job_id: str) -> bool:
        """Whether the shadow model reads the instance of a job: the same ones each time."""
        return self.path is not None and int(job_id[:8], 16) < self.share * (1 << 32)


class DriftSettings(Section):
    """What is compared with a reference: the films of so many days, if they are enough."""

    window_days: Annotated[float, Field(ge=1, le=56)] = 7
    fewest_instances: Annotated[int, Field(ge=50, le=20_000)] = 200


class InferSettings(Section):
    """How jobs are leased, batched and retried for prediction."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    decode_threads: Annotated[int, Field(ge=1, le=64)] = 2
    overlap: bool = True
    niceness: Annotated[int, Field(ge=0, le=19)] = 10
    lease_seconds: Seconds = 60
    maximum_attempts: Annotated[int, Field(ge=1)] = 3
    backoff_seconds: Seconds = 5
    maximum_backoff_seconds: Seconds = 300


class DecodingSettings(Section):
    """The limits of the processes that decode instances."""

    quick_seconds: Seconds = 0.5
    seconds: Seconds = 20
    memory_bytes: Annotated[int, Field(ge=1 << 26)] = 736 << 20


class DeliverSettings(Section):
    """How outputs are sent, and for how long an unavailable destination is retried."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    lease_seconds: Seconds = 120
    backoff_seconds: Seconds = 5
    maximum_backoff_seconds: Seconds = 900
    give_up_days: Annotated[float, Field(gt=0)] = 7
    maximum_refusals: Annotated[int, Field(ge=1)] = 5
    direct_sending: bool = True
    keep_open_seconds: Annotated[float, Field(ge=0, le=60)] = 0.25


class WebSettings(Section):
    """The pages, the JSON API, health and metrics."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    maximum_upload_bytes: Annotated[int, Field(ge=1 << 16)] = 128 << 20
    maximum_zip_entries: Annotated[int, Field(ge=1, le=10_000)] = 500
    maximum_zip_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 30
    maximum_zip_entry_bytes: Annotated[int, Field(ge=1 << 16)] = 256 << 20
    maximum_zip_ratio: Annotated[int, Field(ge=2)] = 100
    maximum_zip_seconds: Seconds = 120
    maximum_connections: Annotated[int, Field(ge=10, le=10_000)] = 500
    head_seconds: Seconds = 10
    body_seconds: Seconds = 1800
    least_bytes_per_second: Annotated[int, Field(ge=1)] = 1024
    allow_non_loopback: bool = False
    names: Annotated[tuple[Host, ...], NoDecode, BeforeValidator(parse_list)] = ()


class HealthSettings(Section):
    """The address of health and metrics alone: a Unix socket, and a port if one is set."""

    socket: Path | None = None
    socket_for_group: bool = False
    host: Host = "127.0.0.1"
    port: Port | None = None


class SignInSettings(Section):
    """How people sign in: with a password, at an identity provider, or at a trusted proxy."""

    session_seconds: Seconds = 43200
    session_idle_seconds: Seconds = 3600
    secure_cookies: Literal["auto", "always"] = "auto"
    attempts_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 30
    maximum_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    lock_seconds: Seconds = 60
    maximum_lock_seconds: Seconds = 3600
    proxy_addresses: Annotated[
        tuple[Annotated[str, AfterValidator(require_network)], ...],
        NoDecode,
        BeforeValidator(parse_list),
    ] = ()
    proxy_header: HeaderName | None = None
    proxy_role_header: HeaderName | None = None
    openid_issuer: Annotated[str, AfterValidator(require_issuer)] | None = None
    openid_client_id: Annotated[str, Field(min_length=1)] | None = None
    openid_client_secret: SecretStr | None = None
    openid_client_secret_file: SecretFile | None = None
    openid_ca_file: Path | None = None
    openid_callback_url: Annotated[str, AfterValidator(require_callback_url)] | None = None
    openid_scopes: Annotated[str, Field(pattern=r"^openid( [!#-\[\]-~]+)*$")] = (
        "openid profile email"
    )
    openid_name_claim: Annotated[str, Field(min_length=1)] = "preferred_username"
    openid_role_claim: Annotated[str, Field(min_length=1)] = "groups"
    openid_roles: Annotated[dict[str, Role], NoDecode, BeforeValidator(parse_json)] = {}

    @model_validator(mode="after")
    def _proxy_is_whole(self) -> Self:
        if self.proxy_header is not None and not self.proxy_addresses:
            raise ValueError("proxy_header needs proxy_addresses: from others it is ignored")
        if self.proxy_role_header is not None and self.proxy_header is None:
            raise ValueError("proxy_role_header needs a proxy_header")
        return self

    @model_validator(mode="after")
    def _openid_is_whole(self) -> Self:
        if self.openid_issuer is None:
            return self
        if self.openid_client_id is None:
            raise ValueError("openid_issuer needs an openid_client_id")
        if not self.openid_roles:
            raise ValueError(
                "openid_issuer needs openid_roles, such as "
                '{ "lobar-readers" = "viewer" }: else nobody could sign in'
            )
        if self.openid_client_secret is not None and self.openid_client_secret_file is not None:
            raise ValueError("set openid_client_secret or openid_client_secret_file, not both")
        return self

    @property
    def is_elsewhere(self) -> bool:
        """Whether people sign in at an identity provider or a proxy, and the pages are closed."""
        return self.openid_issuer is not None or self.proxy_header is not None


class SyslogTransport(StrEnum):
    """How audit messages are sent to the syslog server."""

    TLS = "tls"
    TCP = "tcp"
    UDP = "udp"


class AuditSettings(Section):
    """The export of the audit trail to a syslog server; without a host there is none."""

    source_id: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")] | None = None
    site_id: Annotated[str, Field(pattern=r"^[!-~]{1,64}$")] | None = None
    syslog_host: Host | None = None
    syslog_port: Port = 6514
    syslog_transport: SyslogTransport = SyslogTransport.TLS
    syslog_seconds: Annotated[float, Field(gt=0, le=300)] = 10
    ca_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: SecretFile | None = None

    @model_validator(mode="after")
    def _files_are_for_tls(self) -> Self:
        if self.client_key_file is not None and self.client_certificate_file is None:
            raise ValueError("client_key_file needs a client_certificate_file")
        with_files = self.ca_file is not None or self.client_certificate_file is not None
        if with_files and self.syslog_transport is not SyslogTransport.TLS:
            raise ValueError("ca_file and client_certificate_file need syslog_transport tls")
        return self


class LogSettings(Section):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"
