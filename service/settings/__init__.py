"""The settings: one frozen tree, read once from `lobar.toml` and the environment.

The environment takes precedence over the file. No other package reads either.
"""

from service.settings.destinations import (
    AnyDestination,
    Destination,
    DimseDestination,
    WebDestination,
)
from service.settings.environment import (
    child_environment,
    environment_without_settings,
    notify_socket,
    read_settings,
    unknown_variables,
)
from service.settings.sections import (
    SHIPPED_BUNDLE,
    AuditSettings,
    BundleSettings,
    CommitmentPeer,
    DecodingSettings,
    DeliverSettings,
    DicomPeer,
    DicomSender,
    DicomSettings,
    InferSettings,
    LedgerSettings,
    LogSettings,
    RedisSettings,
    RelaySettings,
    Section,
    SignInSettings,
    SpoolSettings,
    SyslogTransport,
    WebSettings,
)
from service.settings.settings import (
    CONFIG_VARIABLE,
    DEFAULT_CONFIG,
    ConfigurationError,
    Settings,
    config_file,
)
from service.settings.types import AETitle, Host, Port, Seconds, is_bearer_token

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_CONFIG",
    "SHIPPED_BUNDLE",
    "AETitle",
    "AnyDestination",
    "AuditSettings",
    "BundleSettings",
    "CommitmentPeer",
    "ConfigurationError",
    "DecodingSettings",
    "DeliverSettings",
    "Destination",
    "DicomPeer",
    "DicomSender",
    "DicomSettings",
    "DimseDestination",
    "Host",
    "InferSettings",
    "LedgerSettings",
    "LogSettings",
    "Port",
    "RedisSettings",
    "RelaySettings",
    "Seconds",
    "Section",
    "Settings",
    "SignInSettings",
    "SpoolSettings",
    "SyslogTransport",
    "WebDestination",
    "WebSettings",
    "child_environment",
    "config_file",
    "environment_without_settings",
    "is_bearer_token",
    "notify_socket",
    "read_settings",
    "unknown_variables",
]
