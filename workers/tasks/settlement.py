"""The settlement of jobs whose analysis failed: whose fault it was, and what follows for them."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import structlog

from service.decoding import DecodersBusyError, DecodersLostError
from service.domain.backoff import backoff_seconds
from service.domain.job import Job, JobState
from service.domain.queues import INFER
from service.domain.reasons import Reason
from service.settings import InferSettings
from service.storage.faults import Fault, fault_of
from service.storage.ledger import Ledger, LedgerError, StaleLeaseError
from service.telemetry.metrics import PARKED, STALE_LEASES
from service.telemetry.progress import Progress
from workers.reporting.output import ReportError
from workers.tasks.breaker import WorkerBreaker

log = structlog.get_logger()
Result = TypeVar("Result")
Write = Callable[[], None]


class Settlement:
    """Takes steps with jobs, and writes what follows for a job whose step failed.

    Any thread may take steps; one writes what the ledger did not take.
    """

    def __init__(
        self, ledger: Ledger, limits: InferSettings, breaker: WorkerBreaker, progress: Progress
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._breaker = breaker
        self._progress = progress
        # held by who leases too: else a job that is due again could be leased between the look at
        # the breaker and its opening
        self.meeting_faults = threading.Lock()
        self._lock = threading.Lock()  # of the two that follow
        self._concluded = 0  # jobs, since the process began
        self._concluded_before: dict[str, int] = {}  # the last fault of a job
        self._unwritten: deque[tuple[Job, Write]] = deque()

    def attempt(self, job: Job, step: Callable[[], Result]) -> Result | None:
        """Take one step with one job; if it fails, settle that job and return None."""
        try:
            return step()
        except DecodersLostError:
            raise  # of no job: this process must start anew
        except Exception as error:  # noqa: BLE001 -- one job must not end the batch
            settlement = self.settlement(job, error)
        finally:
            self._progress.touch(INFER)
        if settlement is not None:
            self.write(job, settlement)
        return None

    def write(self, job: Job, settlement: Write) -> None:
        """Write the state of a job, later if the ledger does not answer.

        After any other error it is logged, and the job's lease runs out.
        """
        try:
            settlement()
        except LedgerError as error:
            log.warning("ledger_silent", job_id=job.id, exc_info=error)
            self._unwritten.append((job, settlement))
        except Exception as error:  # noqa: BLE001 -- one job must not end the batch
            self.settlement(job, error)

    def write_rest(self) -> None:
        """Write what the ledger did not take before. A lease that ran out meanwhile is stale."""
        for _ in range(len(self._unwritten)):  # those that fail again are appended
            self.write(*self._unwritten.popleft())

    def conclude(self, job: Job, step: Callable[[], None]) -> None:
        """Take the last step with one job; if it succeeds, the environment works."""
        seen = self._breaker.seen
        if self.attempt(job, partial(_is_done, step)):
            with self._lock:
                self._concluded += 1
                self._concluded_before.pop(job.id, None)
            self._breaker.close(seen)

    def settlement(self, job: Job, error: Exception) -> Write | None:
        """Log an error of one job and return the write that it calls for, if any."""
        if isinstance(error, StaleLeaseError):
            STALE_LEASES.inc()
            log.warning("stale_lease", job_id=job.id, attempt=job.attempt)
            return None
        if isinstance(error, LedgerError):
            log.warning("ledger_silent", job_id=job.id, exc_info=error)
            return partial(self._settle_unrecorded, job)
        if isinstance(error, ReportError):
            log.error("report_failed", job_id=job.id, exc_info=error)
            return partial(self.park, job, Reason.REPORT_FAILED)
        if isinstance(error, DecodersBusyError):  # with instances as slow as this one
            log.info("decoders_busy", job_id=job.id)
            pause = self._pause_seconds(job.attempt)
            return partial(self.postpone, job, pause, "decoders-busy", counts=False)
        fault = fault_of(error)
        if fault is not None:
            log.error("environment_failed", job_id=job.id, fault=fault, exc_info=error)
            return partial(self.meet_fault, job, fault)
        log.error("job_failed", job_id=job.id, attempt=job.attempt, exc_info=error)
        return partial(self.count_failure, job, "error")

    def meet_fault(self, job: Job, fault: Fault, *, works: bool = False) -> None:
        """Postpone a job that met a fault of the environment.

        Without evidence that the environment works for others, the job uses up no try and is due
        again as soon as the breaker, which opens, lets it be. With such evidence it waits by
        itself, longer each time. It uses up a try if that is not the first time and the fault is
        one that an instance can cause: a job that alone fails is parked in the end.

        Args:
            job: The job as leased.
            fault: What failed.
            works: Whether it has been seen to work since, with another instance. Where it is not
                known, another job that was concluded since the last fault of this one is evidence.
        """
        with self._lock:
            is_evident = self._concluded > self._concluded_before.get(job.id, 0)
            self._concluded_before[job.id] = self._concluded
        if works or (job.faults and is_evident):
            counts = bool(job.faults) and fault.may_be_of_job
            pause = self._pause_seconds(job.faults + 1)
            self.postpone(job, pause, fault, counts=counts, is_fault=True)
            return
        with self.meeting_faults:
            self._breaker.open(fault)
            self.postpone(job, 0, fault, counts=False, is_fault=True)

    def _settle_unrecorded(self, job: Job) -> None:
        """Postpone a job of which the ledger took no result.

        Where it takes that, it answers, and the second time it is the result that it does not take:
        that uses up a try. Where it does not answer, the try is given back when it does.
        """
        pause = self._pause_seconds(job.faults + 1)
        try:
            self.postpone(job, pause, "ledger-failed", counts=job.faults > 0, is_fault=True)
        except LedgerError as error:
            log.warning("ledger_silent", job_id=job.id, exc_info=error)
            later = partial(self.postpone, job, 0, "ledger-failed", counts=False)
            self._unwritten.append((job, later))

    def count_failure(self, job: Job, why: str) -> None:
        """Postpone a job for a failure of its own: it uses up a try."""
        self.postpone(job, self._pause_seconds(job.tries), why)

    def postpone(
        self, job: Job, seconds: float, why: str, *, counts: bool = True, is_fault: bool = False
    ) -> None:
        """Make a job due again later."""
        self._ledger.jobs.postpone(job, seconds, why, counts=counts, is_fault=is_fault)

    def park(self, job: Job, reason: Reason) -> None:
        """Park a job until a person requeues it."""
        self._ledger.jobs.park(job, reason)
        PARKED.labels(reason=reason).inc()
        log.info("job_closed", job_id=job.id, state=JobState.PARKED, reason=reason)

    def _pause_seconds(self, failures: int) -> float:
        return backoff_seconds(
            failures,
            first=self._limits.backoff_seconds,
            longest=self._limits.maximum_backoff_seconds,
        )


def _is_done(step: Callable[[], None]) -> bool:
    step()
    return True
