"""The infer worker: lease due jobs, predict them as one batch, report each by itself."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from pydicom.dataset import Dataset

from service.crash_points import CrashPoint, passed
from service.decoding import DecoderPool, DecodersLostError, Template
from service.dispatch.notifier import Notifier
from service.domain.job import Job, JobState
from service.domain.queues import DELIVER, INFER
from service.domain.reasons import LEFT_ALONE, Reason
from service.domain.routing import Outcome
from service.settings import Settings
from service.storage.faults import Fault, fault_of
from service.storage.ledger import Ledger, LedgerError, StaleLeaseError
from service.storage.spool import Spool
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.metrics import (
    END_TO_END_SECONDS,
    MODEL_INFO,
    NOT_ANALYSED,
    OTHER_ABNORMALITIES,
    POPULATIONS,
    PREDICTIONS,
    STAGE_SECONDS,
)
from service.telemetry.progress import Progress
from workers.inference import pins
from workers.inference.loading import LoadedInstance, Reader, read, read_header
from workers.prediction import Conclusion, NotAnalysable, NotAnalysed, Prediction
from workers.reporting.output import ReportError
from workers.reporting.outputs import needs_picture, store_outputs
from workers.reporting.picture import Shown
from workers.tasks.breaker import RestartNeededError, WorkerBreaker
from workers.tasks.celery_worker import work
from workers.tasks.predictions import Predicted, Predictions
from workers.tasks.settlement import Settlement

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

_BATCH_SECONDS: Final = 1.0  # for how long a batch waits for those of its instances that are slow
_POLL_SECONDS: Final = 0.25  # between looks for new jobs while nothing but slow instances is there
_SLOW_PATIENCE: Final = 5.0  # seconds; then an instance makes room, to be tried again later
_MOST_CARRIED: Final = 24  # instances that are decoded beside the batches

log = structlog.get_logger()


def run(settings: Settings, ledger: Ledger, spool: Spool, redis_url: str) -> None:
    """Load the bundle, then infer due jobs at every wake-up until SIGTERM.

    Raises:
        BundleError: the bundle cannot be used; the message says why.
        RestartNeededError: the process must start anew, because of a fault of the environment.
    """
    pins.verify(settings.bundle)
    from workers.inference.decoders import (  # noqa: PLC0415 -- torch and monai cost seconds
        DecodingReader,
        RadiographHandler,
    )

    stopping, ready = threading.Event(), threading.Event()
    progress = Progress()
    # before the first thread, and before the weights: decoders are forked from this state
    template = Template(RadiographHandler(settings.bundle.path))
    waiting = settings.infer.batch_size + _MOST_CARRIED  # threads that only wait for a decoder
    with (
        ThreadPoolExecutor(waiting, "decoder") as decoders,  # outermost: they end with the template
        closing(template),
        closing(DecoderPool(template, settings.decoding, settings.infer.decode_threads)) as pool,
        HeartbeatSender(ledger, "infer", ready.is_set, progress) as heartbeat,
    ):
        with progress.working("loading", settings.start_seconds):
            breaker = WorkerBreaker(ledger, heartbeat.holder, settings.infer)
            predictor = _load_predictor(settings, breaker)
        _publish_model(predictor)
        notifier = Notifier(redis_url)
        worker = InferenceWorker(
            settings=settings,
            ledger=ledger,
            spool=spool,
            predictor=predictor,
            notify=lambda destination: notifier.notify(DELIVER, destination),
            holder=heartbeat.holder,
            decoders=decoders,
            reader=DecodingReader(pool, slow_patience=_SLOW_PATIENCE),
            stopping=stopping,
            progress=progress,
        )
        work(redis_url, INFER, partial(_wake, worker), ready=ready, stopping=stopping)
        notifier.close()
    if worker.breaker.restart_for is not None:
        raise RestartNeededError(worker.breaker.restart_for)


def _load_predictor(settings: Settings, breaker: WorkerBreaker) -> "Predictor":
    """Load the bundle.

    Raises:
        BundleError: it cannot be used.
        RestartNeededError: it cannot be used now: memory or the device fails, or something else
            has failed since an earlier process loaded it.
    """
    from workers.inference.predictor import BundleError, load_predictor  # noqa: PLC0415 -- torch and monai cost seconds

    try:
        return load_predictor(settings.bundle)
    except (BundleError, RuntimeError, MemoryError) as error:
        fault, before = fault_of(error), breaker.look()
        if fault not in {Fault.DEVICE_FAILED, Fault.OUT_OF_MEMORY}:  # a wrong path looks so too
            fault = before.fault if before else None
        if fault is None or fault is Fault.PREDICTOR_FAILED:  # perhaps another bundle by now
            raise
        breaker.open(fault)
        log.exception("model_not_loaded", fault=fault)
        raise RestartNeededError(fault, str(error)) from error


def _wake(worker: "InferenceWorker") -> None:
    # a step is the decoding of one instance or the prediction of one batch
    seconds = worker.settings.stuck_seconds + worker.settings.decoding.seconds
    try:
        with worker.progress.working(INFER, seconds):
            worker.infer_due()
    except DecodersLostError:
        worker.breaker.restart_for = Fault.DECODERS_LOST
    except LedgerError as exc:  # the leases run out, and the relay wakes the queue again
        log.warning("inference_interrupted", exc_info=exc)
    if worker.breaker.restart_for is not None and not worker.stopping.is_set():
        log.warning("restart_needed", fault=worker.breaker.restart_for)
        signal.raise_signal(signal.SIGTERM)  # Celery ends as for the supervisor


def _publish_model(predictor: "Predictor") -> None:
    model = predictor.model
    MODEL_INFO.labels(
        name=model.name,
        version=model.version,
        weights_sha256=model.weights_sha256[:16],
        operating_point=model.operating_point.name,
        device=predictor.device,
    ).set(1)
    log.info("model_loaded", model=f"{model.name} {model.version}", device=predictor.device)


def _outcome(prediction: Prediction | NotAnalysable) -> Outcome:
    return prediction.outcome if isinstance(prediction, Prediction) else Outcome.NOT_ANALYSED


def _count(job: Job, prediction: Prediction) -> None:
    """Count and log the findings of a job that is reported."""
    other = prediction.other
    PREDICTIONS.labels(finding=prediction.finding).inc()
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


_Step = Future[LoadedInstance | None]  # None: nothing is left to do with the job


@dataclass(slots=True, kw_only=True)
class _Decoding:
    """A leased job whose instance, or the picture of it, is being decoded."""

    job: Job
    future: _Step
    renew_at: float  # by the monotonic clock

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
    predictor: "Predictor"
    notify: Callable[[str], None]  # wakes the deliver worker for the destination of this name
    holder: str  # of the leases
    decoders: ThreadPoolExecutor  # in which instances are read, and pictured ones concluded
    reader: Reader | None = None  # reads the pixels; the predictor itself does if it is None
    stopping: threading.Event = field(default_factory=threading.Event)  # set: lease no more
    decoding: list[_Decoding] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    breaker: WorkerBreaker = field(init=False)
    _jobs: Settlement = field(init=False)
    _predictions: Predictions = field(init=False)

    def __post_init__(self) -> None:
        limits = self.settings.infer
        self.breaker = WorkerBreaker(self.ledger, self.holder, limits)
        self._jobs = Settlement(self.ledger, limits, self.breaker, self.progress)
        self._predictions = Predictions(
            self.predictor, self._jobs, self.breaker, self.progress, self._conclude_all
        )

    def infer_due(self) -> None:
        """Infer every due job, a batch at a time, until none is due or being decoded.

        It ends early where this process must end, as `breaker.restart_for` then says: the jobs are
        due again, no try used up.

        Raises:
            DecodersLostError: no decoder can be started; the jobs are due again, no try used up.
        """
        while not self.stopping.is_set() and self.breaker.restart_for is None:
            jobs = self._lease()
            if not jobs and not self.decoding:
                return
            self.infer_batch(jobs)
        self._hand_back("restart" if self.breaker.restart_for else "stopping")

    def _lease(self) -> Sequence[Job]:
        """Lease due jobs: none while the breaker is open, and one while it is half-open."""
        limits = self.settings.infer
        self._jobs.write_rest()
        breaker = self.breaker.look()
        room = min(limits.batch_size, limits.batch_size + _MOST_CARRIED - len(self.decoding))
        if room <= 0 or (breaker is not None and breaker.is_open):
            return ()
        return self.ledger.jobs.lease(
            self.holder,
            1 if breaker else room,
            lease_seconds=limits.lease_seconds,
            maximum_attempts=limits.maximum_attempts,
            probes=breaker is not None,
        )

    def infer_batch(self, jobs: Sequence[Job]) -> None:
        """Take each job of a batch one state further; a failure in one does not affect others.

        A job whose instance is still being decoded after a second joins a later batch. One that
        met a fault before is predicted alone.

        Raises:
            DecodersLostError: no decoder can be started; the jobs are due again, no try used up.
        """
        if jobs:
            passed(CrashPoint.INFER_LEASED)
        self._begin(jobs)
        self._predictions.infer(self._decoded())

    def _conclude_all(self, predicted: Iterable[Predicted]) -> None:
        """Report predictions; beside other work where a picture is to be decoded for it first."""
        begun = []
        for job, instance, prediction in predicted:
            conclude = partial(self._conclude, job, instance, prediction)
            if needs_picture(self.settings, _outcome(prediction)):
                begun.append(self._submit(job, partial(self._jobs.conclude, job, conclude)))
            else:
                self._jobs.conclude(job, conclude)
        wait(begun, _BATCH_SECONDS)

    def _begin(self, jobs: Sequence[Job]) -> None:
        """Begin to decode the instances of leased jobs, and wait until some are decoded."""
        begun = [self._submit(job, partial(self._decode, job)) for job in jobs]
        if begun:
            wait(begun, _BATCH_SECONDS)
        else:
            wait([each.future for each in self.decoding], _POLL_SECONDS, FIRST_COMPLETED)

    def _submit(self, job: Job, step: Callable[[], LoadedInstance | None]) -> _Step:
        """Begin a step with a leased job in another thread; its lease is renewed meanwhile."""
        future = self.decoders.submit(step)
        renew_at = time.monotonic() + self.settings.infer.lease_seconds / 3
        self.decoding.append(_Decoding(job=job, future=future, renew_at=renew_at))
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
        done = done[: self.settings.infer.batch_size]
        self.decoding[:] = [each for each in self.decoding if each not in done]
        self.decoding[:] = [each for each in self.decoding if self._keep(each)]
        results = ((each.job, each.future.result()) for each in done)
        return [(job, instance) for job, instance in results if instance]

    def _keep(self, decoding: _Decoding) -> bool:
        """Renew a lease a third of which has passed; return False if it is no longer current."""
        if decoding.is_settled or time.monotonic() < decoding.renew_at:
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
        began = time.monotonic()
        try:
            instance = read(self.reader or self.predictor, self.spool.inbox(job.id))
        except FileNotFoundError:
            if not self.spool.inbox(job.id).parent.is_dir():
                raise  # it is the inbox that is gone
            self._jobs.park(job, Reason.BYTES_MISSING)
            return None
        except NotAnalysable as exc:
            self._close_not_analysed(job, exc.reason)
            return None
        STAGE_SECONDS.labels(stage="decode").observe(time.monotonic() - began)
        return instance

    def _conclude(
        self, job: Job, instance: LoadedInstance, prediction: Prediction | NotAnalysable
    ) -> None:
        passed(CrashPoint.INFER_PREDICTED)
        if isinstance(prediction, NotAnalysable):
            self._close_not_analysed(job, prediction.reason, instance.shown)
            _count_population(prediction)
            return
        try:
            self._report(job, instance.header, instance.shown, prediction)
        except NotAnalysable as exc:  # of the picture: an output shows what cannot be decoded
            self._close_not_analysed(job, exc.reason)
            return
        _count(job, prediction)
        _count_population(prediction)

    def _close_not_analysed(self, job: Job, reason: Reason, shown: Shown | None = None) -> None:
        """Close a job as not analysed, with a report of the reason if a destination wants it."""
        wanted = self.settings.routes.kinds(Outcome.NOT_ANALYSED)
        if not wanted or reason in LEFT_ALONE or not self._report_reason(job, reason, shown):
            self.ledger.jobs.not_analysed(job, reason)
        NOT_ANALYSED.labels(reason=reason).inc()
        log.info("job_closed", job_id=job.id, state=JobState.NOT_ANALYSED, reason=reason)

    def _report_reason(self, job: Job, reason: Reason, shown: Shown | None) -> bool:
        """Report why a job was not analysed; return False if its header allows no report."""
        conclusion = NotAnalysed(reason=reason, model=self.predictor.model)
        try:
            header = read_header(self.spool.inbox(job.id))
            try:
                self._report(job, header, shown, conclusion)
            except NotAnalysable:  # of the picture: the report does without
                self._report(job, header, None, conclusion)
        except (NotAnalysable, ReportError) as exc:
            log.warning("refusal_unreported", job_id=job.id, exc_info=exc)
            return False
        return True

    def _report(
        self, job: Job, header: Dataset, shown: Shown | None, conclusion: Conclusion
    ) -> None:
        began = time.monotonic()
        store_outputs(self.settings, self.ledger, self.spool, job, header, shown, conclusion)
        STAGE_SECONDS.labels(stage="report").observe(time.monotonic() - began)
        END_TO_END_SECONDS.labels(until="reported").observe(max(0.0, time.time() - job.asked_at))
        for destination in self.settings.destinations:
            if conclusion.outcome in destination.outcomes:
                self.notify(destination.name)
