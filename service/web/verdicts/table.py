"""Write verdicts as CSV for retraining, without anything about the patient.

A reader has a pseudonym, and comments are left out unless asked for: people write names into them.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from service.domain.verdict import Verdict
from service.storage.ledger import Ledger

COLUMNS: Final = (
    *("digest", "sop_instance_uid", "finding", "probability", "operating_point", "model"),
    *("population", "opinion", "right_finding", "reader", "time"),
)
COMMENT: Final = "comment"
_AT_ONCE: Final = 500
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for one


def csv_lines(
    ledger: Ledger, *, since: float | None = None, comments: bool = False
) -> Iterator[str]:
    """Yield the lines of the table: the latest verdict of each reader on each report.

    The ledger is read page by page, so that a table of any length takes little memory.

    Args:
        ledger: where the verdicts are.
        since: only those of this moment or later, seconds since the epoch.
        comments: whether to add what the readers wrote.
    """
    yield _line([*COLUMNS, *([COMMENT] if comments else [])])
    readers = ledger.verdicts.readers()
    after: int | None = 0
    while after is not None:
        page = ledger.verdicts.latest(since, after=after, limit=_AT_ONCE)
        if any(verdict.user not in readers for verdict in page):  # a first verdict since
            readers = ledger.verdicts.readers()
        for verdict in page:
            cells = verdict_cells(verdict, readers)
            yield _line([*cells, verdict.comment] if comments else cells)
        after = page[-1].id if page else None


def verdict_cells(verdict: Verdict, readers: Mapping[str, str]) -> list[str]:
    """Return the cells of a verdict, one for each of `COLUMNS`."""
    return [
        verdict.digest,
        verdict.sop_instance_uid,
        verdict.finding,
        f"{verdict.probability!r}",
        verdict.operating_point,
        verdict.model,
        verdict.population or "",
        str(verdict.opinion),
        verdict.right_finding or "",
        readers[verdict.user],
        datetime.fromtimestamp(verdict.at, UTC).isoformat(timespec="seconds"),
    ]


def moment_of(text: str) -> float:
    """Read a day or a moment in ISO 8601, in UTC unless it names another zone.

    Raises:
        ValueError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:40]!r} is no day or moment such as 2026-05-04 or 2026-05-04T12:30"
        ) from None


def _line(cells: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream).writerow(map(_harmless, cells))
    return stream.getvalue()


def _harmless(cell: str) -> str:
    """Put an apostrophe before what a spreadsheet would run as a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
