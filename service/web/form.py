"""Read the fields of a form, and the local address to return to."""

import unicodedata
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse

from service.web.problem import Problem
from service.web.sign_in.next_page import local_path

_ENCODED: Final = "application/x-www-form-urlencoded"
_LARGEST_BYTES: Final = 1 << 16  # a form is kept in memory
_CONTROL: Final = "Cc"  # Unicode's category
_KEPT: Final = "\n"


async def _fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a form; none of a request without a body.

    A body of several parts is not parsed: Starlette would write it to the temporary folder.

    Raises:
        Problem: the body is of another type, or larger than any form.
    """
    kind = request.headers.get("content-type", "")
    if not kind:
        return {}
    if not kind.lower().startswith(_ENCODED):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"A form must be sent as {_ENCODED}.")
    length = request.headers.get("content-length")
    if length is None:
        raise Problem(HTTPStatus.LENGTH_REQUIRED, "A form must state its length.")
    if int(length) > _LARGEST_BYTES:  # a number: the server has checked that
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"A form has at most {_LARGEST_BYTES:,} bytes."
        )
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


Fields = Annotated[Mapping[str, str], Depends(_fields)]
"""The fields of a form, as the parameter of a route; put it after what `require` gives."""


def written_text(fields: Mapping[str, str], name: str, *, longest: int, shortest: int = 0) -> str:
    """Return what a person wrote, with plain line ends and without control characters.

    Raises:
        Problem: it is shorter or longer than it may be.
    """
    text = fields.get(name, "").replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join(
        character
        for character in text
        if character in _KEPT or unicodedata.category(character) != _CONTROL
    ).strip()
    if not shortest <= len(kept) <= longest:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"The {name} must have {shortest:,} to {longest:,} characters; it has {len(kept):,}.",
        )
    return kept


def return_to(fields: Mapping[str, str], otherwise: str) -> RedirectResponse:
    """Build the answer to a form: go to the page that it names in `next`, if that is ours."""
    return RedirectResponse(local_path(fields.get("next", ""), otherwise), HTTPStatus.SEE_OTHER)
