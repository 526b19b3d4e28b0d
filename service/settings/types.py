"""Validated value types of settings."""

import json
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
)


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
