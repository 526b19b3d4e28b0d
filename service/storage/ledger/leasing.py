"""Lease, fence and release rows of the ledger; each step is part of a larger transaction.

Four tables hold work that processes lease: `jobs`, `deliveries`, `requests` and `audit_exports`. A
lease is three columns: `holder` (the process), `due_at` (when the lease expires) and `attempt`,
which each lease increments. A write by the holder is fenced: it succeeds only while the row still
has the attempt that the holder leased, so a worker that was slow or presumed dead cannot overwrite
a newer result.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, delete, update

from service.domain.delivery import IN_FLIGHT
from service.domain.job import JobState
from service.storage.ledger.tables import AUDIT_EXPORTS, DELIVERIES, JOBS, REQUESTS


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
        self, connection: Connection, query: Select[Any], now: float, limit: int
    ) -> Sequence[Row[Any]]:
        """Lock up to `limit` rows of a query that are due, the longest due first.

        Rows that another transaction has locked are skipped.
        """
        return connection.execute(
            query.where(self.table.c.due_at <= now)
            .order_by(self.table.c.due_at, self.table.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True, of=self.table)
        ).all()

    def lease(
        self,
        connection: Connection,
        locked: Leased,
        holder: str,
        until: float,
        **values: Any,  # noqa: ANN401 -- columns
    ) -> Row[Any]:
        """Lease a row that `lock_due` returned, and write further columns to it.

        Args:
            connection: The transaction that locked the row.
            locked: The value of the row.
            holder: Name of the process that works on it.
            until: When the lease expires, seconds since the epoch.
            **values: Further columns.

        Returns:
            The row as leased.
        """
        return connection.execute(
            update(self.table)
            .where(self.table.c.id == locked.id)
            .values(attempt=locked.attempt + 1, holder=holder, due_at=until, **values)
            .returning(*self.table.c)
        ).one()

    def write_if_current(self, connection: Connection, leased: Leased, **values: Any) -> None:  # noqa: ANN401 -- columns
        """Write to a leased row and end its lease.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        self._require_current(
            leased,
            connection.execute(
                update(self.table).where(*self._fence(leased)).values({"holder": None, **values})
            ).rowcount,
        )

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
        leased = [self.table.c.holder.startswith(holder, autoescape=True)]
        if self.states:
            leased.append(self.table.c.state.in_(self.states))
        return connection.execute(
            update(self.table)
            .where(*leased)
            .values(holder=None, due_at=now)
            .returning(*self.table.c)
        ).all()

    def _fence(self, leased: Leased) -> list[ColumnElement[bool]]:
        return [
            self.table.c[name] == getattr(leased, name)
            for name in ("id", "attempt", *self.identity)
        ]

    def _require_current(self, leased: Leased, changed: int) -> None:
        if changed != 1:
            raise StaleLeaseError(
                f"attempt {leased.attempt} of {self.table.name} {leased.id} is no longer current"
            )


LEASED_JOBS: Final = LeasedTable(table=JOBS, identity=("state",), states={JobState.RECEIVED})
LEASED_DELIVERIES: Final = LeasedTable(
    table=DELIVERIES, identity=("job_id", "kind", "destination", "state"), states=IN_FLIGHT
)
LEASED_EXPORTS: Final = LeasedTable(table=AUDIT_EXPORTS, identity=())
LEASED_REQUESTS: Final = LeasedTable(
    table=REQUESTS, identity=("transaction_uid", "calling_ae_title")
)
