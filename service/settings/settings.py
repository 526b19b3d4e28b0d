"""The tree of all settings: frozen, read from `lobar.toml` and the environment.

The environment takes precedence over the file. No other package reads either.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from service.domain.routing import Outcome, Routes
from service.errors import EX_CONFIG, ExplainedError
from service.settings.destinations import (
    AnyDestination,
    Destination,
    DimseDestination,
    require_unique_names,
)
from service.settings.secrets import with_password
from service.settings.sections import (
    AuditSettings,
    BundleSettings,
    CommitmentPeer,
    DecodingSettings,
    DeliverSettings,
    DicomSettings,
    DriftSettings,
    HealthSettings,
    InferSettings,
    LedgerSettings,
    LogSettings,
    RedisSettings,
    RelaySettings,
    ShadowSettings,
    SignInSettings,
    SpoolSettings,
    WebSettings,
)
from service.settings.tracing import TracingSettings
from service.settings.types import Seconds, parse_json

CONFIG_VARIABLE: Final = "LOBAR_CONFIG"
DEFAULT_CONFIG: Final = Path("lobar.toml")


class ConfigurationError(ExplainedError):
    """The configuration cannot be used; the message says what to change, one line per fault."""

    exit_status = EX_CONFIG


class Settings(BaseSettings):
    """All settings; build them with `read_settings`, which explains every fault."""

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
    start_seconds: Seconds = 600
    stuck_seconds: Seconds = 120
    dicom: DicomSettings = DicomSettings()
    spool: SpoolSettings = SpoolSettings()
    ledger: LedgerSettings = LedgerSettings()
    redis: RedisSettings = RedisSettings()
    relay: RelaySettings = RelaySettings()
    bundle: BundleSettings = BundleSettings()
    shadow: ShadowSettings = ShadowSettings()
    drift: DriftSettings = DriftSettings()
    infer: InferSettings = InferSettings()
    decoding: DecodingSettings = DecodingSettings()
    deliver: DeliverSettings = DeliverSettings()
    web: WebSettings = WebSettings()
    health: HealthSettings = HealthSettings()
    sign_in: SignInSettings = SignInSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    destinations: Annotated[
        tuple[AnyDestination, ...],
        NoDecode,
        BeforeValidator(parse_json),
        AfterValidator(require_unique_names),
    ] = ()

    @property
    def ledger_url(self) -> str:
        """The SQLAlchemy URL of the ledger: the one given, else SQLite in the state directory.

        Raises:
            ConfigurationError: its password_file cannot be read.
        """
        if self.ledger.url is None:
            return f"sqlite:///{self.state_dir.absolute() / 'ledger.sqlite3'}"
        url = _with_password("ledger", self.ledger.url, self.ledger.password_file)
        return re.sub("^postgresql:", "postgresql+psycopg:", url)

    @property
    def redis_url(self) -> str | None:
        """The URL of the configured Redis, with its password; None when there is none.

        Raises:
            ConfigurationError: its password_file cannot be read.
        """
        if self.redis.url is None:
            return None
        return _with_password("redis", self.redis.url, self.redis.password_file)

    @property
    def spool_dir(self) -> Path:
        """The folder of received bytes and reports."""
        return self.state_dir.absolute() / "spool"

    @property
    def health_socket(self) -> Path:
        """The Unix socket of health and metrics: the one given, else one in the state directory."""
        return (self.health.socket or self.state_dir / "health.sock").absolute()

    @property
    def metrics_dir(self) -> Path:
        """The folder in which the processes of one machine combine their metrics."""
        return self.state_dir.absolute() / "metrics"

    @property
    def routes(self) -> Routes:
        """Which kinds of output go to which destinations, for each outcome."""
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
            has_destinations=bool(self.destinations),
        )

    def with_promoted_bundle(self) -> Self:
        """Return these settings with the two bundles exchanged, if the shadow's is promoted."""
        promoted = self.shadow.bundle
        if promoted is None or not self.shadow.promoted:
            return self
        own = self.bundle
        shadow = ShadowSettings(
            path=own.path,
            digest=own.digest,
            device=own.device,
            operating_point=own.operating_point,
            report_populations=own.report_populations,
            share=self.shadow.share,
        )
        engine = {"engine": own.engine, "engines": own.engines}
        return self.model_copy(
            update={"bundle": promoted.model_copy(update=engine), "shadow": shadow}
        )

    def destination(self, name: str) -> Destination | None:
        """Return the destination with this name; None when there is none."""
        return next((each for each in self.destinations if each.name == name), None)

    def commitment_peer(self, ae_title: str) -> CommitmentPeer | DimseDestination | None:
        """Return the address at which a sender expects commitment results; None when unknown."""
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
        """Read the environment first, then the file; no dotenv, no secrets directory."""
        del dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, file


def _with_password(section: str, url: str, file: Path | None) -> str:
    try:
        return with_password(url, file)
    except ValueError as exc:
        raise ConfigurationError(f"{section}.{exc}.") from exc


def config_file() -> Path | None:
    """Return the configuration file in use: the one named, else `lobar.toml` here, else None."""
    named = os.environ.get(CONFIG_VARIABLE)  # noqa: TID251 -- this package is the one reader
    if named:
        return Path(named)
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None
