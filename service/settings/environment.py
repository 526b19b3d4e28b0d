"""Read the settings from `lobar.toml` and the environment."""

import os
import tomllib
from typing import Any, Final

from pydantic import (
    ValidationError,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    SettingsError,
)

from service.settings.destinations import KINDS
from service.settings.secrets import exposed_secrets
from service.settings.sections import Section
from service.settings.settings import CONFIG_VARIABLE, ConfigurationError, Settings, config_file

CRASH_VARIABLE: Final = "LOBAR_CRASH_AT"
LISTENING_VARIABLE: Final = "LOBAR_LISTENING"


def read_settings(**overrides: Any) -> Settings:  # noqa: ANN401 -- any field of the tree
    """Read the settings from file and environment; `overrides` take precedence over both.

    Where the shadow's bundle is promoted, it is the bundle of these settings, and the other one is
    the shadow's.

    Raises:
        ConfigurationError: the file is missing or not TOML, a value is not usable, or everybody
            can read a secret in it.
    """
    file = config_file()
    if file is not None and not file.is_file():
        raise ConfigurationError(f"{CONFIG_VARIABLE} names {file}, which is not a file.")
    try:
        settings = Settings(**overrides)
        exposed = exposed_secrets(file) if file is not None else []
    except ValidationError as exc:
        raise ConfigurationError("\n".join(map(_fault, exc.errors()))) from exc
    except SettingsError as exc:  # a section that the environment gives whole, as JSON
        raise ConfigurationError(f"The environment cannot be read: {exc}: {exc.__cause__}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{file} is not valid TOML: {exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"{file} cannot be read: {exc.strerror}") from exc
    if exposed:
        raise ConfigurationError(
            f"{file} holds a secret ({', '.join(exposed)}), and every account of this machine can "
            f"read it: run `chmod o= {file}`, or put the secret into a file of its own."
        )
    return settings.with_promoted_bundle()


def child_environment(**settings: str) -> dict[str, str]:
    """Return this process' environment with some variables set, for a child process."""
    return {**os.environ, **settings}  # noqa: TID251 -- this package is the one reader


def notify_socket() -> str | None:
    """Return the address at which the service manager takes notifications (sd_notify(3))."""
    return os.environ.get("NOTIFY_SOCKET") or None  # noqa: TID251 -- this package is the one reader


def shared_listening() -> str | None:
    """Return what `lobar up` shares among its listeners (service/receiving/shared_listening.py)."""
    return os.environ.get(LISTENING_VARIABLE) or None  # noqa: TID251 -- this package is the one reader


def crash_point() -> str | None:
    """Return the crash point at which tests let this process end (service/crash_points.py)."""
    return os.environ.get(CRASH_VARIABLE) or None  # noqa: TID251 -- this package is the one reader


def environment_without_settings() -> dict[str, str]:
    """Return this process' environment without Lobar's variables, the bundle's excepted."""
    return {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 -- this package is the one reader
        if not name.upper().startswith("LOBAR_") or name.upper().startswith("LOBAR_BUNDLE__")
    }


def unknown_variables() -> list[str]:
    """List the variables that look like settings but are not: probably misspelled."""
    known = {CONFIG_VARIABLE, CRASH_VARIABLE, LISTENING_VARIABLE}
    for name, field in Settings.model_fields.items():
        known.add(f"LOBAR_{name}".upper())
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            known |= {f"LOBAR_{name}__{leaf}".upper() for leaf in section.model_fields}
    names = os.environ  # noqa: TID251 -- this package is the one reader
    return sorted(n for n in names if n.upper().startswith("LOBAR_") and n.upper() not in known)


def _fault(fault: ErrorDetails) -> str:
    steps = (str(step) for step in fault["loc"] if step not in KINDS)
    where = ".".join(steps) or "configuration"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown setting (misspelled?)"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}"
