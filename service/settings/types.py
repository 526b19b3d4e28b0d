"""Types of the settings' values, and the validators behind them.

A validator returns the value to use, or raises a `ValueError` that says what is expected.
"""

import base64
import ipaddress
import json
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
)

from service.settings.loopback import is_loopback

_SHORTEST_KEY: Final = 24  # bytes of a signing key, by the Standard Webhooks
_LONGEST_KEY: Final = 64
CALLBACK_PATH: Final = "/sign-in/openid/callback"


def parse_list(value: object) -> object:
    """Parse a list written as `A,B` or as JSON; a value that is not text is returned unchanged.

    Commas are accepted because JSON is hard to type in a shell.
    """
    if isinstance(value, str) and not value.strip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    return parse_json(value)


def parse_json(value: object) -> object:
    """Parse a value that the environment gives as JSON; one that is not text is returned as is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as exc:
        raise ValueError(f"is not valid JSON: {exc}") from exc


def strip_ae_title(value: str) -> str:
    """Strip an AE title's leading and trailing spaces, which do not count (PS3.8 table 9-11)."""
    stripped = value.strip()
    if not stripped:
        raise ValueError("an AE title must not be blank")
    return stripped


def require_host(value: str) -> str:
    """Require a name or address that can be looked up (RFC 1035 2.3.4, RFC 3490)."""
    try:
        value.encode("idna")
    except UnicodeError as exc:
        raise ValueError("is neither a host name nor an address") from exc
    return value


def require_redis_url(value: str) -> str:
    """Require a URL that redis-py and Celery can parse, so that a fault shows at start."""
    wanted = "must be redis://HOST:PORT/NUMBER (or rediss://)"
    _require_port(value, wanted)
    if not re.fullmatch(r"rediss?://[^/]+(/\d*)?(\?.*)?", value):
        raise ValueError(wanted)
    return value


def require_ledger_url(value: str) -> str:
    """Require a database that has a driver here and that all processes can share."""
    wanted = "must be sqlite:////PATH/TO/FILE or postgresql://USER@HOST/DATABASE"
    _require_port(value, wanted)
    if not re.fullmatch(r"sqlite:///(?!:memory:).+|postgresql(\+psycopg)?://.+", value):
        raise ValueError(wanted)
    return value


def require_web_url(value: str) -> str:
    """Require the base address of a DICOMweb service, without a password: addresses are logged."""
    wanted = "must be https://HOST:PORT/PATH (or http://), without user, query or fragment"
    _require_port(value, wanted)
    host = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    if not re.fullmatch(rf"https?://{host}(:\d+)?(/[!-\"$->@-~]*)?", value):
        raise ValueError(wanted)
    require_host(urlsplit(value).hostname or "..")
    return value.rstrip("/")


def require_trace_page(value: str) -> str:
    """Require the address of a page that shows a trace, with {trace_id} where its id belongs."""
    if value.count("{trace_id}") != 1 or not re.fullmatch(r"https?://[!#-;=?-~]{1,2000}", value):
        raise ValueError("must be https://HOST/PATH (or http://) with {trace_id} in it once")
    return value


def require_issuer(value: str) -> str:
    """Require an issuer identifier (OpenID Connect Core 2); http:// on this machine only.

    It is compared letter by letter with what the provider says, so a slash at its end counts.
    """
    require_web_url(value)
    if value.startswith("http:") and not is_loopback(urlsplit(value).hostname or ""):
        raise ValueError("must be https://: passwords and tokens pass through it")
    return value


def require_callback_url(value: str) -> str:
    """Require the address of the call-back as the provider knows it."""
    if not value.endswith(CALLBACK_PATH):
        raise ValueError(f"must end with {CALLBACK_PATH}")
    return require_web_url(value)


def require_network(value: str) -> str:
    """Require an address, or a network in CIDR notation."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as exc:
        raise ValueError("is neither an address nor a network such as 10.0.0.0/8") from exc


def parse_certificate_name(value: str) -> str:
    """Return a name in a certificate in lower case, or its SHA-256 fingerprint without colons."""
    name = value.strip().casefold()
    if not name:
        raise ValueError("names no certificate")
    digest = name.removeprefix("sha256:").replace(":", "")
    return digest if re.fullmatch(r"[0-9a-f]{64}", digest) else name


def require_bearer_token(value: SecretStr) -> SecretStr:
    """Require a token that a header can carry (RFC 6750 2.1); the message does not quote it."""
    if not is_bearer_token(value.get_secret_value()):
        raise ValueError("is not a bearer token: letters, digits and -._~+/ only, = at the end")
    return value


def is_bearer_token(value: str) -> bool:
    """Return whether a header can carry this token (RFC 6750 2.1)."""
    return re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", value) is not None


def require_uri(value: str) -> str:
    """Require an absolute URI in ASCII (RFC 3986 4.3), such as a URL or `urn:lobar`."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,250}", value):
        raise ValueError("is not an absolute URI, such as https://example.org or urn:lobar")
    return value


def require_signing_key(value: SecretStr) -> SecretStr:
    """Require a key to sign with, of 24 to 64 bytes in Base64; the message does not quote it."""
    if signing_key(value.get_secret_value()) is None:
        raise ValueError("is not 24 to 64 bytes in Base64, with or without whsec_ before them")
    return value


def signing_key(value: str) -> bytes | None:
    """Return the bytes of a key as the Standard Webhooks write it; None if it is none."""
    try:
        key = base64.b64decode(value.strip().removeprefix("whsec_"), validate=True)
    except ValueError:
        return None
    return key if _SHORTEST_KEY <= len(key) <= _LONGEST_KEY else None


def _require_port(url: str, wanted: str) -> None:
    try:
        _ = urlsplit(url).port
    except ValueError as exc:  # its text may hold a password
        raise ValueError(wanted) from exc


AETitle = Annotated[
    str, Field(pattern=r"^[ -\[\]-~]{1,16}$"), AfterValidator(strip_ae_title)
]  # PS3.5 6.2: 16 characters of the default repertoire, no backslash, no control


Port = Annotated[int, Field(ge=1, le=65535)]


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


Host = Annotated[str, Field(min_length=1), AfterValidator(require_host)]


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")]  # RFC 9110 5.1


Hl7Name = Annotated[str, Field(pattern=r"^[ -~]{0,180}$")]  # HL7 v2.5.1 2.A.33: HD, escaped later


# RFC 5322 3.4.1, without comments, quotes and addresses beyond ASCII
EmailAddress = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9.-]{1,189}$")
]


MailboxName = Annotated[str, Field(pattern=r"^[ -~]{1,255}$")]
