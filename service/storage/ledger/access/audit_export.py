"""How far the audit trail was exported; one process at a time exports it."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, Select, select

from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.tables import AUDIT_EXPORTS
from service.storage.ledger.work.leasing import LEASED_EXPORTS

_SYSLOG: Final = "syslog"
_QUERY: Final[Select[Any]] = select(AUDIT_EXPORTS).where(AUDIT_EXPORTS.c.id == _SYSLOG)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportState:
    """How far the export is, and its lease."""

    id: str
    exported: int  # number of the last record that the server took; 0 for none
    attempt: int
    failures: int  # in a row
    fault: str | None  # of the last failure
    holder: str | None
    due_at: float


class AuditExport:
    """The lease on the export, and what came of it; writes are fenced (see `leasing`)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def state(self) -> ExportState:
        """Return how far the export is."""
        with self._database.read() as connection:
            return _state_of(connection.execute(_QUERY).one())

    def lease(self, holder: str, lease_seconds: float) -> ExportState | None:
        """Lease the export; None while another process does, or while it pauses."""
        now = self._clock().scheduled
        with self._database.write() as connection:
            for row in LEASED_EXPORTS.lock_due(connection, _QUERY, now, 1):
                (leased,) = LEASED_EXPORTS.lease(
                    connection, [_state_of(row)], holder, now + lease_seconds
                )
                return _state_of(leased)
        return None

    def taken(self, leased: ExportState, exported: int) -> None:
        """Record that the server took all records up to a number; the next ones are due.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock().scheduled
        with self._database.write() as connection:
            LEASED_EXPORTS.write_if_current(
                connection, leased, exported=exported, failures=0, fault=None, due_at=now
            )

    def failed(self, leased: ExportState, fault: str, *, again_in: float) -> None:
        """Record that the server did not take them; they are due again in `again_in` seconds.

        Args:
            leased: The export as leased.
            fault: A fixed word, never text from the wire.
            again_in: The pause.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock().scheduled
        with self._database.write() as connection:
            LEASED_EXPORTS.write_if_current(
                connection,
                leased,
                failures=leased.failures + 1,
                fault=fault,
                due_at=now + again_in,
            )

    def release(self, holder: str) -> int:
        """End the lease of processes whose name begins with `holder`; return how many."""
        now = self._clock().scheduled
        with self._database.write() as connection:
            return len(LEASED_EXPORTS.release(connection, holder, now))


def _state_of(row: Row[Any]) -> ExportState:
    return ExportState(**row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name begins so
