"""Pages of a list: where the next one begins, as an address and as a header."""

from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from service.storage.ledger import Position

MOST: Final = 500  # entries of a page
USUAL: Final = 50
CURSOR: Final = r"^[0-9]{1,12}\.[0-9]{1,9}-[0-9a-f]{32}$"  # a moment and the id of a job


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
    """Write a position as the cursor of a page."""
    return f"{position.received_at!r}-{position.job_id}"


def position_of(cursor: str) -> Position:
    """Read a cursor, which is as `CURSOR` says."""
    moment, _, job_id = cursor.partition("-")
    return Position(float(moment), job_id)
