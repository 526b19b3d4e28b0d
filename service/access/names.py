"""The rules for names and passwords of users, and for labels of tokens."""

import re
import unicodedata
from typing import Final

from service.errors import ExplainedError

SHORTEST_PASSWORD: Final = 12  # characters
LONGEST_PASSWORD: Final = 1024  # bytes: what is hashed is bounded
LONGEST_LABEL: Final = 64

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")


class AccessError(ExplainedError):
    """What was given for a user cannot be used; the message says what can."""

    exit_status = 2


def user_name(given: str) -> str:
    """Return a name in its one form: names are not told apart by case.

    Raises:
        AccessError: It is not the name of any user.
    """
    name = given.strip().casefold() if len(given) <= 2 * LONGEST_LABEL else given
    if _NAME.fullmatch(name) is None:
        raise AccessError(
            "A user's name has 1 to 64 letters a to z, digits and . _ @ -, and begins with a "
            "letter or digit."
        )
    return name


def new_password(given: str) -> str:
    """Return a password that may be set.

    Raises:
        AccessError: It is too short or too long.
    """
    if len(given) < SHORTEST_PASSWORD:
        raise AccessError(f"A password has at least {SHORTEST_PASSWORD} characters.")
    if not is_possible(given):
        raise AccessError(f"A password has at most {LONGEST_PASSWORD} bytes.")
    return given


def is_possible(password: str) -> bool:
    """Return whether a typed password can be anybody's; it is not hashed otherwise."""
    return len(password) <= LONGEST_PASSWORD and len(password_bytes(password)) <= LONGEST_PASSWORD


def password_bytes(password: str) -> bytes:
    """Return the bytes that are hashed: keyboards compose letters differently.

    The form is that of NIST SP 800-63B 3.1.1.2.
    """
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")


def token_label(given: str) -> str:
    """Return the label of a token.

    Raises:
        AccessError: It is blank, too long or not printable.
    """
    label = " ".join(given.split())
    if not 1 <= len(label) <= LONGEST_LABEL or not label.isprintable():
        raise AccessError(f"A token's label has 1 to {LONGEST_LABEL} printable characters.")
    return label
