"""The memory: what was received, what is due, what became of it. All SQL is in here."""

import time
from collections.abc import Callable

from service.ledger.commitments import Commitments
from service.ledger.deliveries import Deliveries
from service.ledger.heartbeats import Heartbeat, Heartbeats
from service.ledger.jobs import Jobs
from service.ledger.requests import Requests
from service.ledger.rows import StaleLeaseError
from service.ledger.store import LedgerError, Store
from service.ledger.view import EVERYTHING, Census, Due, View

__all__ = ["EVERYTHING", "Census", "Due", "Heartbeat", "Ledger", "LedgerError", "StaleLeaseError"]


class Ledger:
    """The ledger at one database URL (SQLite or PostgreSQL, in SQLAlchemy's notation)."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._store = Store(url)
        self.jobs = Jobs(self._store, clock)
        self.deliveries = Deliveries(self._store, clock)
        self.commitments = Commitments(self._store, clock)
        self.requests = Requests(self._store, clock)
        self.heartbeats = Heartbeats(self._store, clock)
        self.view = View(self._store, clock)

    def upgrade(self) -> None:
        """Bring the tables to this version's; several processes may ask at once.

        Raises:
            LedgerError: the database could not be reached, or is of a newer version.
        """
        self._store.upgrade()

    def release(self, holder: str) -> int:
        """Give back the leases of processes known to be dead, by their name or its beginning."""
        self.heartbeats.stop(holder)
        held = (self.jobs, self.deliveries, self.requests)
        return sum(each.release(holder) for each in held)

    def close(self) -> None:
        """Give the connections back."""
        self._store.close()
