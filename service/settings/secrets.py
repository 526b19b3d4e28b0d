"""Secrets in files of their own, such as systemd's credentials or a container's secrets."""

import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BeforeValidator

_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
_IN_CREDENTIALS: Final = f"${{{_CREDENTIALS}}}/"


def expand_credentials(value: object) -> object:
    """Put the folder of the service's credentials in place of its name (systemd.exec(5))."""
    if not isinstance(value, str) or not value.startswith(_IN_CREDENTIALS):
        return value
    folder = os.environ.get(_CREDENTIALS)  # noqa: TID251 -- this package is the one reader
    if not folder:
        raise ValueError(
            f"{_CREDENTIALS} is not set: systemd sets it for a service with LoadCredential="
        )
    return Path(folder) / value.removeprefix(_IN_CREDENTIALS)


SecretFile = Annotated[Path, BeforeValidator(expand_credentials)]


def has_password(url: str | None) -> bool:
    """Return whether a URL has a password."""
    return url is not None and bool(urlsplit(url).password)


def require_one_password(url: str | None, file: Path | None) -> None:
    """Require that a file with a password has a URL to go into, which has none.

    Raises:
        ValueError: that is not so.
    """
    if file is None:
        return
    if url is None or not urlsplit(url).netloc:
        raise ValueError("password_file needs a url with a host")
    if has_password(url):
        raise ValueError("set the password in url or in password_file, not both")


def read_secret(file: Path, setting: str = "password_file") -> str:
    """Read the secret that a file holds, without blanks around it.

    Raises:
        ValueError: the file cannot be read or is empty; the message does not quote it.
    """
    try:
        secret = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise ValueError(f"{setting} {file} cannot be read: {why}") from None
    if not secret:
        raise ValueError(f"{setting} {file} is empty")
    return secret


def with_password(url: str, file: Path | None) -> str:
    """Put the password that a file holds into a URL.

    Raises:
        ValueError: the file cannot be read or is empty.
    """
    if file is None:
        return url
    password = read_secret(file)
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    place = f"{user.removesuffix(':')}:{quote(password, safe='')}@{host}"
    return urlunsplit(parts._replace(netloc=place))


def exposed_secrets(file: Path) -> list[str]:
    """Return the settings of a configuration file that are secrets, where everybody can read it.

    Raises:
        OSError: the file cannot be read.
        tomllib.TOMLDecodeError: it is not TOML.
    """
    if not file.stat().st_mode & stat.S_IROTH:
        return []
    return list(_secrets(tomllib.loads(file.read_text())))


def _secrets(tree: dict[str, Any]) -> Iterator[str]:
    for section in ("ledger", "redis"):
        url = _inside(tree, section).get("url")
        if isinstance(url, str) and has_password(url):
            yield f"{section}.url"
    if _inside(tree, "sign_in").get("openid_client_secret"):
        yield "sign_in.openid_client_secret"
    destinations = tree.get("destinations", ())
    for secret in ("bearer_token", "signing_key", "password"):
        if any(isinstance(each, dict) and each.get(secret) for each in destinations):
            yield f"destinations.{secret}"


def _inside(tree: dict[str, Any], section: str) -> dict[str, Any]:
    inside = tree.get(section)
    return inside if isinstance(inside, dict) else {}
