"""The infer worker: lease due jobs, predict them as one batch, report each by itself."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from pydicom.dataset import Dataset

from service.decoding import DecoderPool, DecodersBusyError, DecodersLostError, Template
from service.dispatch.notifier import Notifier
from service.domain.backoff import backoff_seconds
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
    BATCH_SIZE,
    END_TO_END_SECONDS,
    MODEL_INFO,
    NOT_ANALYSED,
    PARKED,
    PREDICTIONS,
    STAGE_SECONDS,
    STALE_LEASES,
)
from service.telemetry.progress import Progress
from workers.inference.loading import LoadedInstance, Reader, read, read_header
from workers.prediction import Conclusion, NotAnalysable, NotAnalysed, Prediction
from workers.reporting.output import ReportError
from workers.reporting.outputs import needs_picture, store_outputs
from workers.reporting.picture import Shown
from workers.tasks.celery_worker import work

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

_BATCH_SECONDS: Final = 1.0  # for how long a batch waits for those of its instances that are slow
_POLL_SECONDS: Final = 0.25  # between looks for new jobs while nothing but slow instances is there
_SLOW_PATIENCE: Final = 5.0  # seconds; then an instance makes room, to be tried again later
_MOST_CARRIED: Final = 24  # instances that are decoded beside the batches

log = structlog.get_logger()
Result = TypeVar("Result")


def run(settings: Settings, ledger: Ledger, spool: Spool, redis_url: str) -> None:
    """Load the bundle, then infer due jobs at every wake-up until SIGTERM.

    Raises:
        BundleError: the bundle cannot be used; the message says why.
        DecodersLostError: no decoder can be started: the process must start anew.
    """
    from workers.inference.decoders import (  # noqa: PLC0415 -- torch and monai cost seconds
        DecodingReader,
        RadiographHandler,
    )

    stopping, ready, lost = threading.Event(), threading.Event(), threading.Event()
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
        from workers.inference.predictor import load_predictor  # noqa: PLC0415 -- torch and monai cost seconds

        with progress.working("loading", settings.start_seconds):
            predictor = load_predictor(settings.bundle)
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
        work(redis_url, INFER, partial(_wake, worker, lost), ready=ready, stopping=stopping)
        notifier.close()
    if lost.is_set():
        raise DecodersLostError


def _wake(worker: "InferenceWorker", lost: threading.Event) -> None:
    # a step is the decoding of one instance or the prediction of one batch
    seconds = worker.settings.stuck_seconds + worker.settings.decoding.seconds
    try:
        with worker.progress.working(INFER, seconds):
            worker.infer_due()
    except DecodersLostError:
        lost.set()
        signal.raise_signal(signal.SIGTERM)  # Celery ends as for the supervisor
    except LedgerError as exc:  # the leases run out, and the relay wakes the queue again
        log.warning("inference_interrupted", exc_info=exc)


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


@dataclass(slots=True, kw_only=True)
class _Decoding:
    """A leased job whose instance, or the picture of it, is being decoded."""

    job: Job
    future: Future[LoadedInstance | None]  # None: nothing is left to do with the job
    renew_at: float  # by the monotonic clock

    @property
    def is_settled(self) -> bool:
        """Return whether nothing is left to do with the job."""
        return self.future.done() and not self.future.exception() and self.future.result() is None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceWorker:
    """Leases due jobs and takes each of them one state further."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    predictor: "Predictor"
    notify: Callable[[str], None]  # wakes the deliver worker for the destination of this name
    holder: str  # of the leases
    decoders: ThreadPoolExecutor  # in which instances are read
    reader: Reader | None = None  # reads the pixels; the predictor itself does if it is None
    stopping: threading.Event = field(default_factory=threading.Event)  # set: lease no more
    decoding: list[_Decoding] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    def infer_due(self) -> None:
        """Infer every due job, a batch at a time, until none is due or being decoded.

        Raises:
            DecodersLostError: no decoder can be started; the jobs are due again, no try used up.
        """
        limits = self.settings.infer
        while not self.stopping.is_set():
            room = min(limits.batch_size, limits.batch_size + _MOST_CARRIED - len(self.decoding))
            jobs: Sequence[Job] = ()
            if room > 0:
                jobs = self.ledger.jobs.lease(
                    self.holder,
                    room,
                    lease_seconds=limits.lease_seconds,
                    maximum_attempts=limits.maximum_attempts,
                )
            if not jobs and not self.decoding:
                return
            self.infer_batch(jobs)
        self._hand_back("stopping")

    def infer_batch(self, jobs: Sequence[Job]) -> None:
        """Take each job of a batch one state further; a failure in one does not affect others.

        A job whose instance is still being decoded after a second joins a later batch.

        Raises:
            DecodersLostError: no decoder can be started; the jobs are due again, no try used up.
        """
        self._begin(jobs)
        batch = self._decoded()
        if not batch:
            return
        try:
            predictions = self._predict([instance for _, instance in batch])
        except Exception:
            log.exception("prediction_failed", batch=len(batch))
            self._infer_one_by_one(batch)
            return
        self._conclude_all(
            (job, instance, prediction)
            for (job, instance), prediction in zip(batch, predictions, strict=True)
        )

    def _conclude_all(
        self, predicted: Iterable[tuple[Job, LoadedInstance, Prediction | NotAnalysable]]
    ) -> None:
        """Report predictions; beside other work where a picture is to be decoded for it first."""
        renew_at = time.monotonic() + self.settings.infer.lease_seconds / 3
        begun = []
        for job, instance, prediction in predicted:
            conclude = partial(self._conclude, job, instance, prediction)
            if needs_picture(self.settings, _outcome(prediction)):
                future = self.decoders.submit(self._conclude_apart, job, conclude)
                begun.append(_Decoding(job=job, future=future, renew_at=renew_at))
            else:
                self._attempt(job, conclude)
        self.decoding.extend(begun)
        wait([each.future for each in begun], _BATCH_SECONDS)

    def _conclude_apart(self, job: Job, conclude: Callable[[], None]) -> LoadedInstance | None:
        self._attempt(job, conclude)
        return None

    def _begin(self, jobs: Sequence[Job]) -> None:
        """Begin to decode the instances of leased jobs, and wait until some are decoded."""
        renew_at = time.monotonic() + self.settings.infer.lease_seconds / 3
        begun = [
            _Decoding(job=job, future=self.decoders.submit(self._decode, job), renew_at=renew_at)
            for job in jobs
        ]
        self.decoding.extend(begun)
        if begun:
            wait([each.future for each in begun], _BATCH_SECONDS)
        else:
            wait([each.future for each in self.decoding], _POLL_SECONDS, FIRST_COMPLETED)

    def _decode(self, job: Job) -> LoadedInstance | None:
        return self._attempt(job, partial(self._load, job))

    def _decoded(self) -> list[tuple[Job, LoadedInstance]]:
        """Take out what is decoded, a batch at most; renew the leases of the others."""
        done = [each for each in self.decoding if each.future.done()]
        if any(isinstance(each.future.exception(), DecodersLostError) for each in done):
            self._hand_back("decoders-lost")
            raise DecodersLostError
        done = done[: self.settings.infer.batch_size]
        self.decoding[:] = [each for each in self.decoding if each not in done]
        self.decoding[:] = [each for each in self.decoding if self._keep(each)]
        results = ((each.job, each.future.result()) for each in done)
        return [(job, instance) for job, instance in results if instance]

    def _keep(self, decoding: _Decoding) -> bool:
        """Renew a lease a third of which has passed; return False if it is no longer current."""
        if time.monotonic() < decoding.renew_at:
            return True
        lease_seconds = self.settings.infer.lease_seconds
        decoding.renew_at = time.monotonic() + lease_seconds / 3
        try:
            self.ledger.jobs.renew(decoding.job, lease_seconds)
        except (LedgerError, StaleLeaseError) as error:
            self._settlement(decoding.job, error)
            return not isinstance(error, StaleLeaseError)
        return True

    def _hand_back(self, why: str) -> None:
        """Make the jobs that are being decoded due again; no try of theirs is used up."""
        for each in self.decoding:
            each.future.cancel()
            if each.future.cancelled() or not each.is_settled:
                postpone = partial(self.ledger.jobs.postpone, each.job, 0, why, counts=False)
                self._settle(each.job, postpone)
        self.decoding.clear()

    def _infer_one_by_one(self, batch: Sequence[tuple[Job, LoadedInstance]]) -> None:
        """Predict each instance of a failed batch alone; count a failure only where it is its own.

        Where all fail, the predictor is asked for a blank input: if it fails on that too, it is
        the predictor's fault and uses up no try of any job.
        """
        failed: list[tuple[Job, Fault | None]] = []
        for job, instance in batch:
            try:
                (prediction,) = self._predict([instance])
            except Exception as error:  # a bundle's code may raise anything
                log.exception("prediction_failed", batch=1, job_id=job.id)
                failed.append((job, fault_of(error)))
            else:
                self._conclude_all([(job, instance, prediction)])
        is_predictors = len(failed) == len(batch) and not self._predicts_blank(batch[0][1])
        for job, fault in failed:
            if is_predictors:
                self._settle(job, partial(self._wait, job, fault or Fault.PREDICTOR_FAILED))
            else:
                self._settle(job, partial(self._postpone, job, "prediction-failed"))

    def _predicts_blank(self, instance: LoadedInstance) -> bool:
        """Return whether the predictor works at all: on a blank input of this instance's shape."""
        try:
            self.predictor.predict([instance.prepared.tensor * 0])
        except Exception:
            log.exception("predictor_failed")
            return False
        return True

    def _load(self, job: Job) -> LoadedInstance | None:
        """Load a job's instance; close or park the job and return None if there is none to read."""
        began = time.monotonic()
        try:
            instance = read(self.reader or self.predictor, self.spool.inbox(job.id))
        except FileNotFoundError:
            self._park(job, Reason.BYTES_MISSING)
            return None
        except NotAnalysable as exc:
            self._close_not_analysed(job, exc.reason)
            return None
        STAGE_SECONDS.labels(stage="decode").observe(time.monotonic() - began)
        return instance

    def _predict(self, instances: Sequence[LoadedInstance]) -> list[Prediction | NotAnalysable]:
        began = time.monotonic()
        predictions = self.predictor.predict([each.prepared.tensor for each in instances])
        STAGE_SECONDS.labels(stage="predict").observe(time.monotonic() - began)
        self.progress.touch(INFER)
        BATCH_SIZE.observe(len(instances))
        return predictions

    def _conclude(
        self, job: Job, instance: LoadedInstance, prediction: Prediction | NotAnalysable
    ) -> None:
        if isinstance(prediction, NotAnalysable):
            self._close_not_analysed(job, prediction.reason, instance.shown)
            return
        try:
            self._report(job, instance.header, instance.shown, prediction)
        except NotAnalysable as exc:  # of the picture: an output shows what cannot be decoded
            self._close_not_analysed(job, exc.reason)
            return
        PREDICTIONS.labels(finding=prediction.finding).inc()
        log.info("job_reported", job_id=job.id, finding=prediction.finding)

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

    def _attempt(self, job: Job, step: Callable[[], Result]) -> Result | None:
        """Take one step with one job; if it fails, settle that job and return None."""
        try:
            return step()
        except DecodersLostError:
            raise  # of no job: this process must start anew
        except Exception as error:  # noqa: BLE001 -- one job must not end the batch
            settlement = self._settlement(job, error)
        finally:
            self.progress.touch(INFER)
        if settlement is not None:
            self._settle(job, settlement)
        return None

    def _settle(self, job: Job, settlement: Callable[[], None]) -> None:
        """Write the state of a failed job; if that fails too, log it and let the lease run out."""
        try:
            settlement()
        except Exception as error:  # noqa: BLE001 -- as above
            self._settlement(job, error)

    def _settlement(self, job: Job, error: Exception) -> Callable[[], None] | None:
        """Log an error of one job and return the write that it calls for, if any."""
        if isinstance(error, StaleLeaseError):
            STALE_LEASES.inc()
            log.warning("stale_lease", job_id=job.id, attempt=job.attempt)
            return None
        if isinstance(error, LedgerError):  # nothing can be written: the lease runs out by itself
            log.warning("ledger_silent", job_id=job.id, exc_info=error)
            return None
        if isinstance(error, ReportError):
            log.error("report_failed", job_id=job.id, exc_info=error)
            return partial(self._park, job, Reason.REPORT_FAILED)
        if isinstance(error, DecodersBusyError):  # with instances as slow as this one
            log.info("decoders_busy", job_id=job.id)
            return partial(self._wait, job, "decoders-busy")
        fault = fault_of(error)
        if fault is not None:
            log.error("environment_failed", job_id=job.id, fault=fault, exc_info=error)
            return partial(self._wait, job, fault)
        log.error("job_failed", job_id=job.id, attempt=job.attempt, exc_info=error)
        return partial(self._postpone, job, "error")

    def _park(self, job: Job, reason: Reason) -> None:
        self.ledger.jobs.park(job, reason)
        PARKED.labels(reason=reason).inc()
        log.info("job_closed", job_id=job.id, state=JobState.PARKED, reason=reason)

    def _postpone(self, job: Job, why: str) -> None:
        limits = self.settings.infer
        pause = backoff_seconds(
            job.tries, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
        )
        self.ledger.jobs.postpone(job, pause, why)

    def _wait(self, job: Job, why: str) -> None:
        """Postpone a job for what is not its own fault: it uses up no try."""
        limits = self.settings.infer
        pause = backoff_seconds(
            job.attempt, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
        )
        self.ledger.jobs.postpone(job, pause, why, counts=False)
