"""The ledger: received instances, due work and its results. All SQL is in this package."""

import time
from collections.abc import Callable

from service.storage.ledger.access.api_tokens import ApiTokens
from service.storage.ledger.access.audit_export import AuditExport
from service.storage.ledger.access.audit_trail import AuditTrail
from service.storage.ledger.access.sessions import Sessions
from service.storage.ledger.access.users import Users
from service.storage.ledger.breakers import Breaker, Breakers
from service.storage.ledger.commitment_requests import CommitmentRequests
from service.storage.ledger.commitments import Commitments
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.deliveries import Deliveries
from service.storage.ledger.evidence import EvidenceOfJobs
from service.storage.ledger.flow import Flow
from service.storage.ledger.heartbeats import Heartbeat, Heartbeats
from service.storage.ledger.holdings import Held, Holdings, StudyFilter
from service.storage.ledger.jobs import Jobs
from service.storage.ledger.leasing import StaleLeaseError
from service.storage.ledger.listing import JobFilter, Listing, Position
from service.storage.ledger.patients import Patients
from service.storage.ledger.queries import EVERYTHING, Due, JobCounts, ParkedFilter, Queries
from service.storage.ledger.related import Related
from service.storage.ledger.retention import Retention
from service.storage.ledger.statistics import Statistics
from service.storage.ledger.transfer import Transfer
from service.storage.ledger.verdicts import ReplacedReportError, Verdicts
from service.storage.ledger.worklist import Worklist

__all__ = [
    "EVERYTHING",
    "Breaker",
    "Due",
    "Heartbeat",
    "Held",
    "JobCounts",
    "JobFilter",
    "Ledger",
    "LedgerError",
    "ParkedFilter",
    "Position",
    "ReplacedReportError",
    "StaleLeaseError",
    "StudyFilter",
]


class Ledger:
    """The ledger at one database URL (SQLite or PostgreSQL, in SQLAlchemy's notation)."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(url)
        self.jobs = Jobs(self._database, clock)
        self.deliveries = Deliveries(self._database, clock)
        self.commitments = Commitments(self._database, clock)
        self.commitment_requests = CommitmentRequests(self._database, clock)
        self.breakers = Breakers(self._database, clock)
        self.heartbeats = Heartbeats(self._database, clock)
        self.users = Users(self._database, clock)
        self.sessions = Sessions(self._database, clock)
        self.api_tokens = ApiTokens(self._database, clock)
        self.audit = AuditTrail(self._database)
        self.audit_export = AuditExport(self._database, clock)
        self.patients = Patients(self._database)
        self.evidence = EvidenceOfJobs(self._database)
        self.listing = Listing(self._database)
        self.holdings = Holdings(self._database)
        self.queries = Queries(self._database, clock)
        self.statistics = Statistics(self._database)
        self.worklist = Worklist(self._database)
        self.related = Related(self._database)
        self.verdicts = Verdicts(self._database, clock)
        self.flow = Flow(self._database, clock)
        self.retention = Retention(self._database, clock)
        self.transfer = Transfer(self._database)

    def upgrade(self) -> None:
        """Migrate the tables to this version; safe for several processes at once.

        Raises:
            LedgerError: The database could not be reached, or is of a newer version.
        """
        self._database.upgrade()

    def is_current(self) -> bool:
        """Return whether the tables are of this version, and need no migration.

        Raises:
            LedgerError: The database could not be reached.
        """
        return self._database.is_current()

    def release(self, holder: str) -> int:
        """End the leases of processes known to have ended, whose name begins with `holder`.

        Returns:
            The number of leases that ended.
        """
        self.heartbeats.stop(holder)
        leased = (self.jobs, self.deliveries, self.commitment_requests, self.audit_export)
        return sum(each.release(holder) for each in leased)

    def close(self) -> None:
        """Close the database connections."""
        self._database.close()
