"""The page to go on with after a sign-in: one of Lobar's, never another site's."""

import re
from typing import Final
from urllib.parse import urlencode

from fastapi import Request

START: Final = "/"
_LOCAL: Final = re.compile(
    r"/(?!/)[!-\[\]-~]{0,2000}"
)  # printable ASCII without space and backslash


def local_path(given: str, otherwise: str = START) -> str:
    """Return a path of this service as it was given, and for anything else another one.

    Browsers read two slashes, or a slash and a backslash, as the begin of another host's address,
    and drop control characters.
    """
    return given if _LOCAL.fullmatch(given) else otherwise


def sign_in_path(request: Request) -> str:
    """Return the path of the sign-in that leads back to what was requested."""
    query = request.url.query
    wanted = local_path(request.url.path + (f"?{query}" if query else ""))
    return "/sign-in" if wanted == START else f"/sign-in?{urlencode({'next': wanted})}"
