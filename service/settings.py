"""What an operator may choose: one frozen tree, read once from `lobar.toml` and the environment.

The environment wins over the file. This is the only module that reads either.
"""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SecretStr,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from service.errors import EX_CONFIG, ExplainedError
from service.job import Outcome, OutputKind, Routes
from service.loopback import is_loopback
from service.sop_classes import DEFAULT_SOP_CLASSES, sop_class_uid

CONFIG_VARIABLE: Final = "LOBAR_CONFIG"
_PROTOCOLS: Final = frozenset({"dimse", "dicomweb"})  # what pydantic calls kinds of destination
DEFAULT_CONFIG: Final = Path("lobar.toml")
SHIPPED_BUNDLE: Final = Path(__file__).resolve().parent.parent / "monai_bundle"


class ConfigurationError(ExplainedError):
    """The configuration cannot be used; the message says what to change, one line a fault."""

    exit_status = EX_CONFIG


def _listed(value: object) -> object:
    """Accept `A,B` as well as a JSON list, because shells make JSON hard to type."""
    if isinstance(value, str) and not value.strip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    return _from_json(value)


def _from_json(value: object) -> object:
    """Read what the environment gives as text; the file gives it as it should be."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError(f"is not valid JSON: {exc}") from exc


def _without_padding(value: str) -> str:
    """AE titles are compared without leading and trailing spaces (PS3.8 table 9-11)."""
    stripped = value.strip()
    if not stripped:
        raise ValueError("an AE title must not be blank")
    return stripped


def _host(value: str) -> str:
    """Refuse what no name service can be asked for (RFC 1035 2.3.4, RFC 3490)."""
    try:
        value.encode("idna")
    except UnicodeError as exc:
        raise ValueError("is neither a host name nor an address") from exc
    return value


def _redis_url(value: str) -> str:
    """Refuse now what redis-py or Celery would stumble over each time that they connect."""
    wanted = "must be redis://HOST:PORT/NUMBER (or rediss://)"
    _require_port(value, wanted)
    if not re.fullmatch(r"rediss?://[^/]+(/\d*)?(\?.*)?", value):
        raise ValueError(wanted)
    return value


def _ledger_url(value: str) -> str:
    """Refuse databases that there is no driver for, and those that each part would have alone."""
    wanted = "must be sqlite:////PATH/TO/FILE or postgresql://USER@HOST/DATABASE"
    _require_port(value, wanted)
    if not re.fullmatch(r"sqlite:///(?!:memory:).+|postgresql(\+psycopg)?://.+", value):
        raise ValueError(wanted)
    return value


def _web_url(value: str) -> str:
    """Refuse what is no base address of a DICOMweb service, and passwords where logs are made."""
    wanted = "must be https://HOST:PORT/PATH (or http://), without user, query or fragment"
    _require_port(value, wanted)
    host = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    if not re.fullmatch(rf"https?://{host}(:\d+)?(/[!-\"$->@-~]*)?", value):
        raise ValueError(wanted)
    _host(urlsplit(value).hostname or "..")
    return value.rstrip("/")


def _bearer_token(value: SecretStr) -> SecretStr:
    """Refuse what no header can carry (RFC 6750 2.1), without saying what it was."""
    if not is_bearer_token(value.get_secret_value()):
        raise ValueError("is no bearer token: letters, digits and -._~+/ only, = at the end")
    return value


def is_bearer_token(value: str) -> bool:
    """Tell whether a header can carry this token (RFC 6750 2.1)."""
    return re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", value) is not None


def _require_port(url: str, wanted: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError as exc:  # its text may hold a password
        raise ValueError(wanted) from exc


AETitle = Annotated[
    str, Field(pattern=r"^[ -\[\]-~]{1,16}$"), AfterValidator(_without_padding)
]  # PS3.5 6.2: 16 characters of the default repertoire, no backslash, no control
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Host = Annotated[str, Field(min_length=1), AfterValidator(_host)]


class Section(BaseModel):
    """A frozen part of the tree; an unknown name in it is an error, not a silent nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class CommitmentPeer(Section):
    """A sender that is told, at this address, what we commit ourselves to."""

    ae_title: AETitle
    host: Host
    port: Port

    @property
    def calling_ae_title(self) -> None:
        """The AE title that only this peer knows us by: none."""

    @property
    def connect_seconds(self) -> float:
        """How long a connection may take."""
        return 5

    @property
    def response_seconds(self) -> float:
        """How long each answer may take."""
        return 60


class Dicom(Section):
    """The listener: who may send what, and how much at once."""

    ae_title: AETitle = "LOBAR"
    host: Host = "127.0.0.1"
    port: Port = 11112
    allowed_calling_ae_titles: Annotated[
        tuple[AETitle, ...], NoDecode, BeforeValidator(_listed)
    ] = ()
    allow_any_calling_ae_title: bool = False
    require_called_ae_title: bool = False
    sop_classes: Annotated[
        tuple[Annotated[str, AfterValidator(sop_class_uid)], ...],
        NoDecode,
        BeforeValidator(_listed),
    ] = Field(default=DEFAULT_SOP_CLASSES, min_length=1, validate_default=True)
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 100
    maximum_pdu_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 128 * 1024
    acse_seconds: Seconds = 30
    network_seconds: Seconds = 60
    maximum_instance_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 30
    commitment_peers: Annotated[
        tuple[CommitmentPeer, ...], NoDecode, BeforeValidator(_from_json)
    ] = ()


class Spool(Section):
    """The disk that received bytes and reports lie on."""

    reserve_bytes: Annotated[int, Field(ge=0)] = 512 << 20
    keep_days: Annotated[float, Field(gt=0)] = 7


class Ledger(Section):
    """The memory: SQLite in the state directory unless a PostgreSQL URL is given."""

    url: Annotated[str, AfterValidator(_ledger_url)] | None = None
    keep_days: Annotated[float, Field(gt=0)] = 365


class Redis(Section):
    """The doorbell's wire; without a URL `lobar up` starts a Redis of its own."""

    url: Annotated[str, AfterValidator(_redis_url)] | None = None


class Relay(Section):
    """How often the ledger is asked for due work."""

    interval_seconds: Seconds = 1
    sweep_seconds: Seconds = 600


class Bundle(Section):
    """The MONAI bundle and what it runs on."""

    path: Path = SHIPPED_BUNDLE
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    operating_point: str | None = None


class Infer(Section):
    """How jobs are taken for prediction."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    decode_threads: Annotated[int, Field(ge=1, le=64)] = 2
    lease_seconds: Seconds = 60
    maximum_attempts: Annotated[int, Field(ge=1)] = 3
    backoff_seconds: Seconds = 5
    maximum_backoff_seconds: Seconds = 300


class Deliver(Section):
    """How reports are sent, and for how long a silent destination is tried."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 32
    lease_seconds: Seconds = 120
    backoff_seconds: Seconds = 5
    maximum_backoff_seconds: Seconds = 900
    give_up_days: Annotated[float, Field(gt=0)] = 7
    maximum_refusals: Annotated[int, Field(ge=1)] = 5


class Web(Section):
    """The pages, the JSON API, health and metrics."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    maximum_upload_bytes: Annotated[int, Field(ge=1 << 16)] = 128 << 20
    allow_non_loopback: bool = False


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


class Destination(Section):
    """Somewhere that outputs are sent to: which of them, and for which outcomes."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    outputs: Annotated[tuple[OutputKind, ...], Field(min_length=1)] = (
        OutputKind.SR,
        OutputKind.OVERLAY,
    )
    outcomes: tuple[Outcome, ...] = (Outcome.PRESENT, Outcome.ABSENT, Outcome.INDETERMINATE)
    connect_seconds: Seconds = 5
    response_seconds: Seconds = 60


class DimseDestination(Destination):
    """A PACS that takes outputs over C-STORE, and may be asked to commit itself to them."""

    ae_title: AETitle
    host: Host
    port: Port
    calling_ae_title: AETitle | None = None
    storage_commitment: bool = False
    commitment_seconds: Seconds = 3600


class WebDestination(Destination):
    """A PACS that takes outputs over DICOMweb (STOW-RS, PS3.18 10.5)."""

    url: Annotated[str, AfterValidator(_web_url)]
    bearer_token: Annotated[SecretStr, AfterValidator(_bearer_token)] | None = None
    bearer_token_file: Path | None = None
    ca_file: Path | None = None
    client_certificate_file: Path | None = None
    client_key_file: Path | None = None

    @model_validator(mode="after")
    def _one_credential_of_a_kind(self) -> Self:
        if self.bearer_token is not None and self.bearer_token_file is not None:
            raise ValueError("give bearer_token or bearer_token_file, not both")
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
            raise ValueError("a bearer token over http:// can be read on the way: use https://")
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether it is reached over TLS."""
        return self.url.startswith("https:")

    @property
    def is_on_this_machine(self) -> bool:
        """Whether what is sent to it stays on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


def _protocol(value: object) -> str:
    """Tell by its `url` which kind of destination this is."""
    is_web = isinstance(value, WebDestination) or (isinstance(value, dict) and "url" in value)
    return "dicomweb" if is_web else "dimse"


AnyDestination = Annotated[
    Annotated[DimseDestination, Tag("dimse")] | Annotated[WebDestination, Tag("dicomweb")],
    Discriminator(_protocol),
]


def _named_apart(
    destinations: tuple[DimseDestination | WebDestination, ...],
) -> tuple[DimseDestination | WebDestination, ...]:
    names = [each.name for each in destinations]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two have the name {name!r}")
    return destinations


class Settings(BaseSettings):
    """The whole tree; construct it with `read_settings`, which explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix="LOBAR_",
        env_nested_delimiter="__",
        env_ignore_empty=True,  # `NAME=` is how compose files leave a variable out
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # it may be a password or a token
    )

    state_dir: Path = Path("state")
    drain_seconds: Seconds = 30
    dicom: Dicom = Dicom()
    spool: Spool = Spool()
    ledger: Ledger = Ledger()
    redis: Redis = Redis()
    relay: Relay = Relay()
    bundle: Bundle = Bundle()
    infer: Infer = Infer()
    deliver: Deliver = Deliver()
    web: Web = Web()
    log: Log = Log()
    destinations: Annotated[
        tuple[AnyDestination, ...],
        NoDecode,
        BeforeValidator(_from_json),
        AfterValidator(_named_apart),
    ] = ()

    @property
    def ledger_url(self) -> str:
        """The SQLAlchemy URL of the ledger, in force whether or not one was given."""
        if self.ledger.url is None:
            return f"sqlite:///{self.state_dir.absolute() / 'ledger.sqlite3'}"
        return re.sub("^postgresql:", "postgresql+psycopg:", self.ledger.url)

    @property
    def spool_dir(self) -> Path:
        """Where received bytes and reports lie."""
        return self.state_dir.absolute() / "spool"

    @property
    def metrics_dir(self) -> Path:
        """Where the processes of one machine add up their metrics."""
        return self.state_dir.absolute() / "metrics"

    @property
    def routes(self) -> Routes:
        """Which kinds of output each outcome owes to which destinations."""
        return Routes(
            {
                outcome: tuple(
                    (kind, each.name)
                    for each in self.destinations
                    if outcome in each.outcomes
                    for kind in each.outputs
                )
                for outcome in Outcome
            },
            anywhere=bool(self.destinations),
        )

    def destination(self, name: str) -> DimseDestination | WebDestination | None:
        """Find a destination by its name."""
        return next((each for each in self.destinations if each.name == name), None)

    def commitment_peer(self, ae_title: str) -> CommitmentPeer | DimseDestination | None:
        """Say where a sender is told what we commit ourselves to, if that is known."""
        known: tuple[CommitmentPeer | DimseDestination, ...] = (
            *self.dicom.commitment_peers,
            *(each for each in self.destinations if isinstance(each, DimseDestination)),
        )
        return next((each for each in known if each.ae_title == ae_title), None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment first, then the file; no dotenv, no secrets directory."""
        del dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, file


def config_file() -> Path | None:
    """The configuration file in force: the one named, else `lobar.toml` here, else none."""
    named = os.environ.get(CONFIG_VARIABLE)  # noqa: TID251 -- this module is the one reader
    if named:
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None


def read_settings(**overrides: Any) -> Settings:  # noqa: ANN401 -- any field of the tree
    """Read file and environment.

    Raises:
        ConfigurationError: the file is missing or not TOML, or a value is not usable.
    """
    file = config_file()
    if file is not None and not file.is_file():
        raise ConfigurationError(f"{CONFIG_VARIABLE} names {file}, which is not a file.")
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        raise ConfigurationError("\n".join(map(_fault, exc.errors()))) from exc
    except SettingsError as exc:  # a section that the environment gives whole, as JSON
        raise ConfigurationError(f"The environment cannot be read: {exc}: {exc.__cause__}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{file} is not valid TOML: {exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"{file} cannot be read: {exc.strerror}") from exc


def child_environment(**settings: str) -> dict[str, str]:
    """Give this process' environment with some settings' variables set, for a child process."""
    return {**os.environ, **settings}  # noqa: TID251 -- this module is the one reader


def environment_without_settings() -> dict[str, str]:
    """Give this process' environment without our variables, save the bundle's: for the demo."""
    return {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 -- this module is the one reader
        if not name.upper().startswith("LOBAR_") or name.upper().startswith("LOBAR_BUNDLE__")
    }


def unknown_variables() -> list[str]:
    """Names in the environment that look like settings but are none: probably misspelt."""
    known = {CONFIG_VARIABLE}
    for name, field in Settings.model_fields.items():
        known.add(f"LOBAR_{name}".upper())
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            known |= {f"LOBAR_{name}__{leaf}".upper() for leaf in section.model_fields}
    names = os.environ  # noqa: TID251 -- this module is the one reader
    return sorted(n for n in names if n.upper().startswith("LOBAR_") and n.upper() not in known)


def _fault(fault: ErrorDetails) -> str:
    steps = (str(step) for step in fault["loc"] if step not in _PROTOCOLS)
    where = ".".join(steps) or "configuration"
    if fault["type"] == "extra_forbidden":
        return f"{where}: is no setting of Lobar's; is it misspelt?"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}"
