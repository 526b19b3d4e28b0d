"""The ledger: received instances, due work and its results. All SQL is in this package."""

from collections.abc import Callable

from service.storage.ledger.access.api_tokens import ApiTokens
from service.storage.ledger.access.audit_export import AuditExport
from service.storage.ledger.access.audit_trail import AuditTrail
from service.storage.ledger.access.sessions import Sessions
from service.storage.ledger.access.users import Users
from service.storage.ledger.breakers import Breaker, Breakers
from service.storage.ledger.clock import MachineClocks, SchedulingClock, same
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.heartbeats import Heartbeat, Heartbeats
from service.storage.ledger.instance.drift_inputs import DriftInputsOfJobs
from service.storage.ledger.instance.evidence import EvidenceOfJobs
from service.storage.ledger.instance.patients import Patients
from service.storage.ledger.instance.verdicts import ReplacedReportError, Verdicts
from service.storage.ledger.properties import Properties
from service.storage.ledger.reading.comparisons import Comparisons
from service.storage.ledger.reading.drift import DriftCounts
from service.storage.ledger.reading.flow import Flow
from service.storage.ledger.reading.holdings import Held, Holdings, StudyFilter
from service.storage.ledger.reading.listing import JobFilter, Listing, Position
from service.storage.ledger.reading.queries import EVERYTHING, Due, JobCounts, ParkedFilter, Queries
from service.storage.ledger.reading.related import Related
from service.storage.ledger.reading.reports import ReportFilter, Reports
from service.storage.ledger.reading.statistics import Statistics
from service.storage.ledger.reading.worklist import Worklist
from service.storage.ledger.retention import Retention
from service.storage.ledger.tallies import Miscount, Tallies
from service.storage.ledger.transfer import Transfer
from service.storage.ledger.work.commitment_requests import CommitmentRequests
from service.storage.ledger.work.commitments import Commitments
from service.storage.ledger.work.deliveries import Acknowledged, Deliveries
from service.storage.ledger.work.jobs import Jobs
from service.storage.ledger.work.leasing import StaleLeaseError
from service.storage.ledger.work.receipts import RECORDED_AT_ONCE
from service.storage.ledger.work.shadows import Shadows

__all__ = [
    "EVERYTHING",
    "Acknowledged",
    "Breaker",
    "Due",
    "Heartbeat",
    "Held",
    "JobCounts",
    "JobFilter",
    "Ledger",
    "LedgerError",
    "Miscount",
    "ParkedFilter",
    "Position",
    "ReplacedReportError",
    "ReportFilter",
    "StaleLeaseError",
    "StudyFilter",
]


class Ledger:
    """The ledger at one database URL (SQLite or PostgreSQL, in SQLAlchemy's notation)."""

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] | None = None,
        machine: MachineClocks | None = None,
        received_at_once: int = RECORDED_AT_ONCE,
    ) -> None:
        """Prepare for a database; nothing is read yet.

        Args:
            url: Of the database.
            clock: Of tests: the time, of the wall and for scheduling alike.
            machine: The clocks from which scheduling time is made; those of this machine.
            received_at_once: How many received instances may share a transaction.
        """
        self._database = Database(url)
        kept = SchedulingClock(self._database, machine or MachineClocks.of_this_machine())
        self._clock = now = kept if clock is None else same(clock)
        self.jobs = Jobs(self._database, now, received_at_once)
        self.deliveries = Deliveries(self._database, now)
        self.commitments = Commitments(self._database, now)
        self.commitment_requests = CommitmentRequests(self._database, now)
        self.breakers = Breakers(self._database, now)
        self.heartbeats = Heartbeats(self._database, now, kept.sync if clock is None else None)
        self.users = Users(self._database, now)
        self.sessions = Sessions(self._database, now)
        self.api_tokens = ApiTokens(self._database, now)
        self.audit = AuditTrail(self._database)
        self.audit_export = AuditExport(self._database, now)
        self.patients = Patients(self._database)
        self.evidence = EvidenceOfJobs(self._database)
        self.drift_inputs = DriftInputsOfJobs(self._database)
        self.drift = DriftCounts(self._database, now)
        self.shadows = Shadows(self._database, now)
        self.comparisons = Comparisons(self._database)
        self.listing = Listing(self._database)
        self.holdings = Holdings(self._database)
        self.reports = Reports(self._database)
        self.queries = Queries(self._database, now)
        self.statistics = Statistics(self._database)
        self.worklist = Worklist(self._database)
        self.related = Related(self._database)
        self.verdicts = Verdicts(self._database, now)
        self.flow = Flow(self._database, now)
        self.tallies = Tallies(self._database)
        self.retention = Retention(self._database, now)
        self.transfer = Transfer(self._database)
        self.properties = Properties(self._database)

    def upgrade(self) -> None:
        """Migrate the tables to this version; safe for several processes at once.

        Raises:
            LedgerError: The database could not be reached, or is of a newer version.
        """
        self._database.upgrade()
        self._clock()

    def now(self) -> float:
        """Return the scheduling time, in seconds since the epoch: by it the ledger decides."""
        return self._clock().scheduled

    def wall_offset(self) -> float:
        """Return the seconds by which the wall clock is ahead of scheduling time."""
        now = self._clock()
        return now.wall - now.scheduled

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
        leased = (
            *(self.jobs, self.deliveries, self.commitment_requests, self.audit_export),
            self.shadows,
        )
        return sum(each.release(holder) for each in leased)

    def close(self) -> None:
        """Close the database connections."""
        self._database.close()
