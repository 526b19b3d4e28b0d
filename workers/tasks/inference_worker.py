"""Lease due jobs, predict what is decoded as one batch, report each by itself.

Decoding, prediction and reporting of different instances overlap. One thread leases, predicts and
settles; decoders and reports run beside it. It predicts whatever is decoded when it is free: an
instance that comes alone is predicted alone, and under load a batch is what came meanwhile.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    InvalidStateError,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog
from pydicom.dataset import Dataset

from service.crash_points import CrashPoint, passed
from service.decoding import DecodersLostError
from service.domain.job import Job, JobState
from service.domain.monitoring.shadow import Monitored
from service.domain.reasons import LEFT_ALONE, Reason
from service.domain.routing import Outcome
from service.settings import Settings
from service.storage.faults import Fault
from service.storage.ledger import Ledger, LedgerError, StaleLeaseError
from service.storage.spool import Spool
from service.telemetry.metrics import (
    END_TO_END_SECONDS,
    NOT_ANALYSED,
    OTHER_ABNORMALITIES,
    POPULATIONS,
    PREDICTIONS,
    PROBABILITIES,
    STAGE_SECONDS,
)
from service.telemetry.progress import Progress
from service.telemetry.tracing.spans import Step, Timed
from workers.inference.loading import LoadedInstance, Reader, read, read_header
from workers.inference.model_io import AnyPredictor
from workers.inference.scope import OF_HEADERS
from workers.prediction import (
    Conclusion,
    NotAnalysable,
    NotAnalysed,
    Prediction,
    reading_of,
)
from workers.reporting.output import ReportError
from workers.reporting.outputs import needs_picture, store_outputs
from workers.tasks.breaker import WorkerBreaker
from workers.tasks.output_notifications import OutputNotifications
from workers.tasks.predictions import Predicted, Predictions
from workers.tasks.settlement import Settlement

_BATCH_SECONDS: Final = 1.0  # for how long a batch waits for those of its instances that are slow
_POLL_SECONDS: Final = 0.25  # between looks for new jobs that no notification announced
_MOST_CARRIED: Final = 24  # slow instances that are in work beside the batches
_REPORTS_AT_ONCE: Final = 4  # more would wait for each other's writes to the ledger
_ANALYSED: Final = (Outcome.PRESENT, Outcome.ABSENT, Outcome.INDETERMINATE)

log = structlog.get_logger()


def most_in_work(settings: Settings) -> int:
    """Return how many jobs are in work at most: two batches, and those that take long."""
    return 2 * settings.infer.batch_size + _MOST_CARRIED


def _outcome(prediction: Prediction | NotAnalysable) -> Outcome:
    return prediction.outcome if isinstance(prediction, Prediction) else Outcome.NOT_ANALYSED


def _count(job: Job, prediction: Prediction) -> None:
    """Count and log the findings of a job that is reported."""
    other = prediction.other
    PREDICTIONS.labels(finding=prediction.finding).inc()
    PROBABILITIES.observe(prediction.probability)
    if other is not None:
        OTHER_ABNORMALITIES.labels(finding=other.finding).inc()
    log.info(
        "job_reported",
        job_id=job.id,
        finding=prediction.finding,
        other_finding=other.finding if other else None,
    )


def _count_population(prediction: Prediction | NotAnalysable) -> None:
    """Count an instance by its population: a name of the bundle's metadata, if it has any."""
    if prediction.population is not None:
        POPULATIONS.labels(population=prediction.population, outcome=_outcome(prediction)).inc()


def _was_tried(job: Job) -> bool:
    return job.tries > 1 or job.faults > 0


@contextmanager
def _refusals_named(timed: Timed) -> Iterator[None]:
    """Have the span of a step name the reason of a refusal, which is no failure."""
    try:
        yield
    except NotAnalysable as exc:
        timed.refuse(exc.reason)
        raise


_Step = Future[LoadedInstance | None]  # None: nothing is left to do with the job


@dataclass(slots=True, kw_only=True)
class _Decoding:
    """A leased job whose instance is being decoded or reported."""

    job: Job
    future: _Step
    begun_at: float  # by the monotonic clock
    renew_at: float

    @property
    def is_slow(self) -> bool:
        """Return whether batches no longer wait for it."""
        return time.monotonic() - self.begun_at >= _BATCH_SECONDS

    @property
    def is_settled(self) -> bool:
        """Return whether nothing is left to do with the job."""
        return self.future.done() and not self.future.exception() and self.future.result() is None


@dataclass(slots=True, kw_only=True)
class InferenceWorker:
    """Leases due jobs and takes each of them one state further."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    predictor: AnyPredictor
    notify: Callable[[str], None]  # wakes the deliver worker for the destination of this name
    holder: str  # of the leases
    decoders: ThreadPoolExecutor  # in which instances are read and reported
    reader: Reader | None = None  # reads the pixels; the predictor itself does if it is None
    stopping: threading.Event = field(default_factory=threading.Event)  # set: lease no more
    decoding: list[_Decoding] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)
    hold_seconds: float = _POLL_SECONDS  # for how long a notification is held while it is busy

    breaker: WorkerBreaker = field(init=False)
    _noticed: Future[None] = field(init=False, default_factory=Future)  # done: jobs may be due
    _looked: threading.Event = field(init=False, default_factory=threading.Event)
    _look_at: float = field(init=False, default=0)  # by the monotonic clock, without a notice
    _may_be_more: bool = field(init=False, default=True)  # due than were leased last
    _reporting: threading.Semaphore = field(init=False)
    _notifications: OutputNotifications = field(init=False)
    _jobs: Settlement = field(init=False)
    _predictions: Predictions = field(init=False)

    def __post_init__(self) -> None:
        limits = self.settings.infer
        self._reporting = threading.Semaphore(_REPORTS_AT_ONCE)
        self._notifications = OutputNotifications(self.notify)
        self.breaker = WorkerBreaker(self.ledger, self.holder, limits)
        self._jobs = Settlement(self.ledger, limits, self.breaker, self.progress)
        self._predictions = Predictions(
            self.predictor, self._jobs, self.breaker, self.progress, self._conclude_all
        )

    def notice(self) -> None:
        """Note that jobs may be due; from any thread."""
        with suppress(InvalidStateError):  # noted already
            self._noticed.set_result(None)

    def receive(self, *_: str) -> None:
        """Take a notification: note it, and return when due jobs are looked for, or soon anyway.

        A worker that is busy so leaves the next notification in the queue, and while one is there
        the notifier sends no more of them.
        """
        self._looked.clear()
        self.notice()
        self._looked.wait(self.hold_seconds)

    def wait_for_notice(self) -> None:
        """Wait until jobs may be due."""
        self._noticed.result()

    def infer_due(self) -> None:
        """Infer every due job until none is due or in work.

        It ends early where this process must end, as `breaker.restart_for` then says: the jobs are
        due again, no try used up.

        Raises:
            DecodersLostError: no decoder can be started; the jobs are due again, no try used up.
        """
        self._look_at = 0
        while not self.stopping.is_set() and self.breaker.restart_for is None:
            jobs = self._lease()
            if not jobs and not self.decoding:
                return
            self.infer_batch(jobs)
        self._finish_quick()
        wait([each.future for each in self._quick()], _BATCH_SECONDS)  # reports, before a restart
        self._hand_back("restart" if self.breaker.restart_for else "stopping")

    def _lease(self) -> Sequence[Job]:
        """Lease due jobs, unless enough are in work.

        None is leased while the breaker is open, and one at a time while it is half-open.
        """
        limits, room = self.settings.infer, self._room()
        if room <= 0 or not self._is_time_to_look():
            return ()
        self._noticed, self._look_at = Future(), time.monotonic() + _POLL_SECONDS
        self._looked.set()
        self._jobs.write_rest()
        with self._jobs.meeting_faults:
            breaker = self.breaker.look()
            if breaker is not None and (breaker.is_open or self._quick()):
                return ()
            jobs = self.ledger.jobs.lease(
                self.holder,
                1 if breaker else room,
                lease_seconds=limits.lease_seconds,
                maximum_attempts=limits.maximum_attempts,
                probes=breaker is not None,
            )
        self._may_be_more = bool(jobs)
        return jobs

    def _room(self) -> int:
        """Return how many jobs may be leased: a batch while no more than another is in work."""
        size = self.settings.infer.batch_size
        if len(self._quick()) > size:
            return 0
        return min(size, most_in_work(self.settings) - len(self.decoding))

    def _quick(self) -> list[_Decoding]:
        """Return what is in work, but for what is slow."""
        return [each for each in self.decoding if not each.is_slow]

    def _is_time_to_look(self) -> bool:
        """Return whether jobs may be due: a look costs as much as a few per cent of a report."""
        return (
            not self.decoding
            or self._may_be_more
            or self._noticed.done()
            or time.monotonic() >= self._look_at
        )

    def infer_batch(self, jobs: Sequence[Job]) -> None:
        """Take each job one state further; a failure in one does not affect others.

        A job that was tried before, or that shows whether a fault is gone, is in work alone, so
        that it fails no other: but for those that have been in work for a second.

        Raises:
            DecodersLostError: no decoder can be started; the jobs are due again, no try used up.
        """
        if jobs:
            passed(CrashPoint.INFER_LEASED)
        is_alone = bool(jobs) and (self.breaker.seen is not None or any(map(_was_tried, jobs)))
        if is_alone:
            self._finish_quick()
        self._begin(jobs)
        self._predictions.infer(self._decoded())
        if is_alone or not self.settings.infer.overlap:
            self._finish_quick()

    def _finish_quick(self) -> None:
        """Predict and report what is in work, but for what is slow; lease nothing meanwhile."""
        while self._quick() and self.breaker.restart_for is None:
            wait([each.future for each in self.decoding], _BATCH_SECONDS, FIRST_COMPLETED)
            self._predictions.infer(self._decoded())

    def _conclude_all(self, predicted: Iterable[Predicted]) -> None:
        """Report predictions beside other work."""
        for job, instance, prediction in predicted:
            conclude = partial(self._conclude, job, instance, prediction)
            self._submit(job, partial(self._jobs.conclude, job, conclude))

    def _begin(self, jobs: Sequence[Job]) -> None:
        """Begin to decode the instances of leased jobs, and wait until there is something to do."""
        begun = [self._submit(job, partial(self._decode, job)) for job in jobs]
        if begun and not self.settings.infer.overlap:
            wait(begun, _BATCH_SECONDS)
            return
        awaited: list[Future[Any]] = [each.future for each in self.decoding]
        if self._room() > 0:
            awaited.append(self._noticed)
        wait(awaited, _POLL_SECONDS, FIRST_COMPLETED)

    def _submit(self, job: Job, step: Callable[[], LoadedInstance | None]) -> _Step:
        """Begin a step with a leased job in another thread; its lease is renewed meanwhile."""
        future = self.decoders.submit(step)
        now = time.monotonic()
        renew_at = now + self.settings.infer.lease_seconds / 3
        self.decoding.append(_Decoding(job=job, future=future, begun_at=now, renew_at=renew_at))
        return future

    def _decode(self, job: Job) -> LoadedInstance | None:
        return self._jobs.attempt(job, partial(self._load, job))

    def _decoded(self) -> list[tuple[Job, LoadedInstance]]:
        """Take out what is decoded, a batch at most; renew the leases of the others."""
        done = [each for each in self.decoding if each.future.done()]
        if any(isinstance(each.future.exception(), DecodersLostError) for each in done):
            self.breaker.open(Fault.DECODERS_LOST)
            self._hand_back(Fault.DECODERS_LOST)
            raise DecodersLostError
        done = [each for each in done if not each.is_settled][: self.settings.infer.batch_size]
        self.decoding[:] = [each for each in self.decoding if each not in done]
        self.decoding[:] = [each for each in self.decoding if self._keep(each)]
        results = ((each.job, each.future.result()) for each in done)
        return [(job, instance) for job, instance in results if instance]

    def _keep(self, decoding: _Decoding) -> bool:
        """Renew a lease a third of which has passed; return False if nothing is left to do."""
        if decoding.is_settled:
            return False
        if time.monotonic() < decoding.renew_at:
            return True
        lease_seconds = self.settings.infer.lease_seconds
        decoding.renew_at = time.monotonic() + lease_seconds / 3
        try:
            self.ledger.jobs.renew(decoding.job, lease_seconds)
        except (LedgerError, StaleLeaseError) as error:
            self._jobs.settlement(decoding.job, error)
            return not isinstance(error, StaleLeaseError)
        return True

    def _hand_back(self, why: str) -> None:
        """Make the jobs that are being decoded due again; no try of theirs is used up."""
        for each in self.decoding:
            each.future.cancel()
            if each.future.cancelled() or not each.is_settled:
                postpone = partial(self._jobs.postpone, each.job, 0, why, counts=False)
                self._jobs.write(each.job, postpone)
        self.decoding.clear()

    def _load(self, job: Job) -> LoadedInstance | None:
        """Load a job's instance; close or park the job and return None if there is none to read."""
        reader, path = self.reader or self.predictor, self.spool.inbox(job.id)
        is_shown = self._is_always_shown
        decoding = Timed((job.id,), Step.DECODE, attempt=job.attempt)
        try:
            with decoding, _refusals_named(decoding):
                instance = read(reader, path, with_picture=is_shown and not _was_tried(job))
        except FileNotFoundError:
            if not path.parent.is_dir():
                raise  # it is the inbox that is gone
            self._jobs.park(job, Reason.BYTES_MISSING)
            return None
        except NotAnalysable as exc:
            self._close_not_analysed(job, exc.reason)
            return None
        STAGE_SECONDS.labels(stage="decode").observe(decoding.seconds)
        if self.settings.infer.overlap and is_shown:
            instance.shown.begin(self.decoders)
        return instance

    @property
    def _is_always_shown(self) -> bool:
        """Return whether the picture is needed whatever is found in it."""
        return all(needs_picture(self.settings, outcome) for outcome in _ANALYSED)

    def _conclude(
        self, job: Job, instance: LoadedInstance, prediction: Prediction | NotAnalysable
    ) -> None:
        passed(CrashPoint.INFER_PREDICTED)
        if isinstance(prediction, NotAnalysable):
            self._close_not_analysed(job, prediction.reason, instance)
            _count_population(prediction)
            return
        try:
            self._report(job, instance.header, instance, prediction)
        except NotAnalysable as exc:  # of the picture: an output shows what cannot be decoded
            self._close_not_analysed(job, exc.reason)
            return
        _count(job, prediction)
        _count_population(prediction)

    def _close_not_analysed(
        self, job: Job, reason: Reason, instance: LoadedInstance | None = None
    ) -> None:
        """Close a job as not analysed, with a report of the reason if a destination wants it."""
        wanted = self.settings.routes.kinds(Outcome.NOT_ANALYSED)
        if not wanted or reason in LEFT_ALONE or not self._report_reason(job, reason, instance):
            conclusion = NotAnalysed(reason=reason, model=self.predictor.model)
            monitored = self._monitored(job, instance, conclusion)
            self.ledger.jobs.not_analysed(job, reason, monitored=monitored)
        NOT_ANALYSED.labels(reason=reason).inc()
        log.info("job_closed", job_id=job.id, state=JobState.NOT_ANALYSED, reason=reason)

    def _monitored(
        self, job: Job, instance: LoadedInstance | None, conclusion: Conclusion
    ) -> Monitored:
        """Return what is kept of an analysis for those who watch the model.

        A shadow model reads what this one was asked about, or would have been.
        """
        by_header = isinstance(conclusion, NotAnalysed) and conclusion.reason in OF_HEADERS
        is_read = self.settings.shadow.takes(job.id) and not by_header
        return Monitored(
            drift_inputs=instance.drift_inputs if instance else None,
            reported=reading_of(conclusion) if is_read else None,
        )

    def _report_reason(self, job: Job, reason: Reason, instance: LoadedInstance | None) -> bool:
        """Report why a job was not analysed; return False if its header allows no report."""
        conclusion = NotAnalysed(reason=reason, model=self.predictor.model)
        try:
            header = read_header(self.spool.inbox(job.id))
            try:
                self._report(job, header, instance, conclusion)
            except NotAnalysable:  # of the picture: the report does without
                self._report(job, header, instance, conclusion, is_shown=False)
        except (NotAnalysable, ReportError) as exc:
            log.warning("refusal_unreported", job_id=job.id, exc_info=exc)
            return False
        return True

    def _report(
        self,
        job: Job,
        header: Dataset,
        instance: LoadedInstance | None,
        conclusion: Conclusion,
        *,
        is_shown: bool = True,
    ) -> None:
        shown = instance.shown if instance and is_shown else None
        monitored = self._monitored(job, instance, conclusion)
        reason = conclusion.reason if isinstance(conclusion, NotAnalysed) else None
        reporting = Timed((job.id,), Step.REPORT, attempt=job.attempt, reason=reason)
        with reporting, _refusals_named(reporting):
            if shown is not None and needs_picture(self.settings, conclusion.outcome):
                _ = shown.picture  # read first: others report meanwhile
            with self._notifications.report() as are_due, self._reporting:
                store_outputs(
                    *(self.settings, self.ledger, self.spool, job, header, shown, conclusion),
                    monitored=monitored,
                )
                are_due(
                    each.name
                    for each in self.settings.destinations
                    if conclusion.outcome in each.outcomes
                )
        STAGE_SECONDS.labels(stage="report").observe(reporting.seconds)
        END_TO_END_SECONDS.labels(until="reported").observe(max(0.0, time.time() - job.asked_at))
