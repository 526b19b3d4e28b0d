"""Lease, fence and release rows of the ledger; each step is part of a larger transaction.

Five tables hold work that processes lease: `jobs`, `deliveries`, `requests`, `shadows` and
`audit_exports`. A lease is three columns: `holder` (the process), `due_at` (when the lease expires)
and `attempt`, which each lease increments. A write by the holder is fenced: it succeeds only while
the row still has the attempt that the holder leased, so a worker that was slow or presumed dead
cannot overwrite a newer result.
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    Update,
    bindparam,
    delete,
    select,
    update,
)

from service.domain.delivery import IN_FLIGHT
from service.domain.job import JobState
from service.storage.ledger.tables import (
    AUDIT_EXPORTS,
    DELIVERIES,
    JOBS,
    ORDINARY,
    REQUESTS,
    SHADOWS,
    URGENT,
)

_FENCE, _NEW = "fence_", "new_"  # before the names of parameters
_SHARE: Final = 4  # one lease in so many begins with what waits longest, urgent or not


class Turns:
    """Decides for each lease whether urgent work comes first, so that the rest never starves.

    Counted in each process by itself: what matters is the share, not whose turn it is.
    """

    def __init__(self) -> None:
        self._numbers: defaultdict[str, Iterator[int]] = defaultdict(itertools.count)

    def is_urgent_first(self, queue: str) -> bool:
        """Return whether the next lease of a queue begins with urgent work."""
        return next(self._numbers[queue]) % _SHARE != _SHARE - 1


class StaleLeaseError(Exception):
    """The lease expired and the row was leased or changed by another; discard what was computed."""


class Leased(Protocol):
    """The value of a leased row: its key, the attempt of the lease, and the identity columns."""

    @property
    def id(self) -> str | int:
        """The row's primary key."""

    @property
    def attempt(self) -> int:
        """The attempt number of the lease."""


class Held(Leased, Protocol):
    """A leased row whose value names its holder as well."""

    @property
    def holder(self) -> str | None:
        """The process that holds the lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedTable:
    """A table whose rows are leased.

    Attributes:
        table: The table; it has the columns `id`, `attempt`, `holder` and `due_at`.
        identity: Columns that must be unchanged for a write to pass, besides `id` and `attempt`.
            SQLite assigns the number of a deleted row to a new one, so `id` alone does not
            identify a row.
        states: The states in which a row can be leased; empty when the table has no states.
    """

    table: Table
    identity: tuple[str, ...]
    states: Collection[str] = ()

    def lock_due(
        self,
        connection: Connection,
        query: Select[Any],
        now: float,
        limit: int,
        *,
        urgent_first: bool = False,
    ) -> Sequence[Row[Any]]:
        """Lock up to `limit` rows of a query that are due, the longest due first.

        Rows that another transaction has locked are skipped.

        Args:
            connection: The transaction.
            query: Selects from the table.
            now: Seconds since the epoch.
            limit: At most so many.
            urgent_first: Whether urgent rows come before all others.
        """
        if not urgent_first:
            return self._lock_due(connection, query, now, limit)
        # equal to a value, and not above one, so that the order of the index is that of the rows
        urgent, others = (query.where(self.table.c.priority == each) for each in (URGENT, ORDINARY))
        first = self._lock_due(connection, urgent, now, limit)
        if len(first) == limit:
            return first
        return [*first, *self._lock_due(connection, others, now, limit - len(first))]

    def _lock_due(
        self, connection: Connection, query: Select[Any], now: float, limit: int
    ) -> Sequence[Row[Any]]:
        return connection.execute(
            query.where(self.table.c.due_at <= now)
            .order_by(self.table.c.due_at, self.table.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True, of=self.table)
        ).all()

    def lease(
        self,
        connection: Connection,
        locked: Sequence[Leased],
        holder: str,
        until: float,
        **values: Any,  # noqa: ANN401 -- columns
    ) -> list[Row[Any]]:
        """Lease rows that `lock_due` returned, and write further columns to them.

        Args:
            connection: The transaction that locked the rows.
            locked: The values of the rows.
            holder: Name of the process that works on them.
            until: When the lease expires, seconds since the epoch.
            **values: Further columns.

        Returns:
            The rows as leased, in the order of `locked`.
        """
        attempt = self.table.c.attempt + 1
        rows = connection.execute(
            update(self.table)
            .where(self.table.c.id.in_([each.id for each in locked]))
            .values(attempt=attempt, holder=holder, due_at=until, **values)
            .returning(*self.table.c)
        )
        leased = {row.id: row for row in rows}
        return [leased[each.id] for each in locked]

    def write_if_current(self, connection: Connection, leased: Leased, **values: Any) -> None:  # noqa: ANN401 -- columns
        """Write to a leased row and end its lease.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        written = {"holder": None, **values}
        statement = _fenced_update(self.table, self.identity, tuple(written))
        fence = {f"{_FENCE}{name}": getattr(leased, name) for name in _fenced(self.identity)}
        new = {f"{_NEW}{name}": value for name, value in written.items()}
        self._require_current(leased, connection.execute(statement, fence | new).rowcount)

    def renew(self, connection: Connection, leased: Held, until: float) -> None:
        """Let a lease expire later; the attempt stays the same.

        A lease that expired is renewed too, as long as nobody has leased the row since.

        Raises:
            StaleLeaseError: The lease is no longer current, or was ended; nothing was changed.
        """
        self._require_current(
            leased,
            connection.execute(
                update(self.table)
                .where(*self._fence(leased), self.table.c.holder == leased.holder)
                .values(due_at=until)
            ).rowcount,
        )

    def delete_if_current(self, connection: Connection, leased: Leased) -> None:
        """Delete a leased row.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        self._require_current(
            leased, connection.execute(delete(self.table).where(*self._fence(leased))).rowcount
        )

    def release(self, connection: Connection, holder: str, now: float) -> Sequence[Row[Any]]:
        """End the leases of all processes whose name begins with `holder`; their rows are due now.

        The attempts stay counted.

        Returns:
            The released rows.
        """
        table = self.table.c
        of_holder = table.holder.startswith(holder, autoescape=True)
        held = select(self.table).where(table.holder.is_not(None), of_holder)
        # the states are compared here: the database would read all rows of a state by its index
        locked = [
            row.id
            for row in connection.execute(held.with_for_update())
            if not self.states or row.state in self.states
        ]
        if not locked:
            return ()
        return connection.execute(
            update(self.table)
            .where(table.id.in_(locked))
            .values(holder=None, due_at=now)
            .returning(*table)
        ).all()

    def _fence(self, leased: Leased) -> list[ColumnElement[bool]]:
        return [self.table.c[name] == getattr(leased, name) for name in _fenced(self.identity)]

    def _require_current(self, leased: Leased, changed: int) -> None:
        if changed != 1:
            raise StaleLeaseError(
                f"attempt {leased.attempt} of {self.table.name} {leased.id} is no longer current"
            )


def _fenced(identity: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that must be unchanged for a write to pass."""
    return ("id", "attempt", *identity)


@functools.cache
def _fenced_update(table: Table, identity: tuple[str, ...], columns: tuple[str, ...]) -> Update:
    """Build the statement that writes columns of a leased row, once: building takes the longest.

    Its parameters are named after the columns, with `_FENCE` or `_NEW` before.
    """
    fence = [table.c[name] == bindparam(f"{_FENCE}{name}") for name in _fenced(identity)]
    return update(table).where(*fence).values({name: bindparam(_NEW + name) for name in columns})


LEASED_JOBS: Final = LeasedTable(table=JOBS, identity=("state",), states={JobState.RECEIVED})
LEASED_DELIVERIES: Final = LeasedTable(
    table=DELIVERIES, identity=("job_id", "kind", "destination", "state"), states=IN_FLIGHT
)
LEASED_EXPORTS: Final = LeasedTable(table=AUDIT_EXPORTS, identity=())
LEASED_REQUESTS: Final = LeasedTable(
    table=REQUESTS, identity=("transaction_uid", "calling_ae_title")
)
LEASED_SHADOWS: Final = LeasedTable(table=SHADOWS, identity=("job_id", "planned_at"))
