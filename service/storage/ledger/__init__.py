"""The memory: what was received, what is due, what became of it. All SQL is in here."""

import time
from collections.abc import Callable

from service.storage.ledger.commitment_requests import CommitmentRequests
from service.storage.ledger.commitments import Commitments
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.deliveries import Deliveries
from service.storage.ledger.heartbeats import Heartbeat, Heartbeats
from service.storage.ledger.jobs import Jobs
from service.storage.ledger.mapping import StaleLeaseError
from service.storage.ledger.queries import EVERYTHING, Due, JobCounts, Queries

__all__ = [
    "EVERYTHING",
    "Due",
    "Heartbeat",
    "JobCounts",
    "Ledger",
    "LedgerError",
    "StaleLeaseError",
]


class Ledger:
    """The ledger at one database URL (SQLite or PostgreSQL, in SQLAlchemy's notation)."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._store = Database(url)
        self.jobs = Jobs(self._store, clock)
        self.deliveries = Deliveries(self._store, clock)
        self.commitments = Commitments(self._store, clock)
        self.commitment_requests = CommitmentRequests(self._store, clock)
        self.heartbeats = Heartbeats(self._store, clock)
        self.queries = Queries(self._store, clock)

    def upgrade(self) -> None:
        """Bring the tables to this version's; several processes may ask at once.

        Raises:
            LedgerError: the database could not be reached, or is of a newer version.
        """
        self._store.upgrade()

    def release(self, holder: str) -> int:
        """Give back the leases of processes known to be dead, by their name or its beginning."""
        self.heartbeats.stop(holder)
        held = (self.jobs, self.deliveries, self.commitment_requests)
        return sum(each.release(holder) for each in held)

    def close(self) -> None:
        """Give the connections back."""
        self._store.close()
