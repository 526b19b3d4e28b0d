"""Pages of a list: where the next one begins, as an address and as a header."""

import base64
import binascii
import math
import re
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from service.storage.ledger import Position
from service.web.problem import Problem, invalid

MOST: Final = 500  # entries of a page
USUAL: Final = 50
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")


class PageQuery(BaseModel):
    """The parameters of a list; one that it does not have is refused, not passed over."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def next_address(path: str, query: PageQuery, **position: Any) -> str:  # noqa: ANN401 -- a cursor
    """Return the address of the next page: the same query from another position."""
    values = query.model_dump(mode="json", exclude_none=True)
    return f"{path}?{urlencode({**values, **position})}"


def link_next(response: Response, address: str | None) -> None:
    """Add the address of the next page as a Link header (RFC 8288)."""
    if address is not None:
        response.headers["Link"] = f'<{address}>; rel="next"'


def cursor_of(position: Position) -> str:
    """Write a position so that a program cannot take it for anything that it may build."""
    text = f"{position.received_at!r} {position.job_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_of(cursor: str) -> Position:
    """Read a position.

    Raises:
        Problem: it is not one that `cursor_of` wrote.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
        moment, job_id = text.split(" ")
        received_at = float(moment)
    except (ValueError, binascii.Error):
        raise _no_cursor() from None
    if not math.isfinite(received_at) or not _JOB_ID.fullmatch(job_id):
        raise _no_cursor()
    return Position(received_at, job_id)


def _no_cursor() -> Problem:
    sentence = "This is not the cursor of a page: take the address in `next` as it is."
    return invalid([{"loc": ("query", "cursor"), "msg": sentence}])
