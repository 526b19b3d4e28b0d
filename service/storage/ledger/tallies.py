"""The tallies: how many jobs and deliveries there are of each kind, without counting rows.

Triggers write each change of a number as a row of `tally_changes`, in the transaction that makes
the change, so that the sums are exact in every snapshot. A number is never updated in place: two
transactions would wait for each other's commit. The relay folds the changes into one row a number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, case, delete, func, select

from service.domain.job import JobState
from service.storage.ledger.database import Database
from service.storage.ledger.prepared import PreparedInsert
from service.storage.ledger.tables import DELIVERIES, JOBS, TALLY_CHANGES

_MOST_FOLDED: Final = 20_000  # changes in one transaction
_FEW: Final = 200  # changes that are not worth a transaction

_INSERT: Final = PreparedInsert(TALLY_CHANGES, ("subject", "state", "name", "number"))

Key = tuple[str, str, str]
"""What is counted: `jobs`, `deliveries` or `received`; the state; the reason or destination."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Miscount:
    """A tally that is not the number of rows."""

    subject: str
    state: str
    name: str
    tally: int
    rows: int


class Tallies:
    """All tallies: folded regularly, compared with the rows when a person asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def fold(self, *, few: int = _FEW) -> int:
        """Replace changes by their sums, a limited number at once.

        Args:
            few: How many changes are not worth a transaction.

        Returns:
            The number of changes folded; 0 when there are no more than a few.
        """
        first = (
            select(TALLY_CHANGES.c.id).order_by(TALLY_CHANGES.c.id).limit(_MOST_FOLDED).subquery()
        )
        with self._database.read() as connection:
            count, last = connection.execute(select(func.count(), func.max(first.c.id))).one()
        if count <= few:
            return 0
        with self._database.write() as connection:
            _fold(connection, last)
        return int(count)

    def verify(self) -> list[Miscount]:
        """Count every row, in one snapshot with the tallies; list where they differ."""
        with self._database.read() as connection:
            return list(_miscounts(connection))

    def correct(self) -> list[Miscount]:
        """Correct the tallies by counting every row; list what differed.

        Work may go on meanwhile: it changes rows and tallies alike, so that the difference stays.
        """
        found = self.verify()
        with self._database.write() as connection:
            for each in found:
                _add(connection, (each.subject, each.state, each.name), each.rows - each.tally)
        return found


def count_received(connection: Connection, number: int) -> None:
    """Count instances that were received, in the transaction that records them."""
    _add(connection, ("received", "", ""), number)


def numbers(connection: Connection, subject: str) -> dict[tuple[str, str], int]:
    """Return the numbers of a subject that are not 0, by state and name."""
    rows = connection.execute(
        select(TALLY_CHANGES.c.state, TALLY_CHANGES.c.name, func.sum(TALLY_CHANGES.c.number))
        .where(TALLY_CHANGES.c.subject == subject)
        .group_by(TALLY_CHANGES.c.state, TALLY_CHANGES.c.name)
    )
    return {(state, name): int(number) for state, name, number in rows if number}


def _add(connection: Connection, key: Key, number: int) -> None:
    subject, state, name = key
    change = {"subject": subject, "state": state, "name": name, "number": number}
    _INSERT.run(connection, [change])


def _fold(connection: Connection, last: int) -> None:
    sums: dict[Key, int] = {}
    gone = delete(TALLY_CHANGES).where(TALLY_CHANGES.c.id <= last).returning(*TALLY_CHANGES.c)
    for row in connection.execute(gone):
        key = (row.subject, row.state, row.name)
        sums[key] = sums.get(key, 0) + row.number
    for key, number in sums.items():
        if number:
            _add(connection, key, number)


def _miscounts(connection: Connection) -> Iterator[Miscount]:
    parked = case((JOBS.c.state == JobState.PARKED, func.coalesce(JOBS.c.reason, "")), else_="")
    counted = {
        "jobs": select(JOBS.c.state, parked, func.count()).group_by(JOBS.c.state, parked),
        "deliveries": select(DELIVERIES.c.state, DELIVERIES.c.destination, func.count()).group_by(
            DELIVERIES.c.state, DELIVERIES.c.destination
        ),
    }
    for subject, query in counted.items():
        kept = numbers(connection, subject)
        rows = {(state, name): int(n) for state, name, n in connection.execute(query)}
        for state, name in sorted(kept.keys() | rows.keys()):
            tally, there = kept.get((state, name), 0), rows.get((state, name), 0)
            if tally != there:
                yield Miscount(subject=subject, state=state, name=name, tally=tally, rows=there)
