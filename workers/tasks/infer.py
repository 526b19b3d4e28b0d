"""Leases due jobs, reads and predicts them as one batch, and reports each by itself."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import structlog
from pydicom.dataset import Dataset

from service.dispatch.notifier import Notifier
from service.domain.backoff import backoff_seconds
from service.domain.job import Job, JobState
from service.domain.queues import DELIVER, INFER
from service.domain.reasons import LEFT_ALONE, Reason
from service.domain.routing import Outcome
from service.settings import Settings
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
from workers.inference.loading import LoadedInstance, read, read_header
from workers.prediction import Conclusion, NotAnalysable, NotAnalysed, Prediction
from workers.reporting.output import ReportError
from workers.reporting.outputs import store_outputs
from workers.reporting.picture import Pixels
from workers.tasks.celery_worker import work

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

log = structlog.get_logger()
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What inference works with."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    predictor: "Predictor"
    notify: Callable[[str], None]  # wakes the worker of one destination
    holder: str
    decoders: ThreadPoolExecutor
    stopping: threading.Event = field(default_factory=threading.Event)


def run(settings: Settings, ledger: Ledger, spool: Spool, redis_url: str) -> None:
    """Load the bundle, then answer the queue's rings until SIGTERM.

    Raises:
        BundleError: the bundle cannot be used; the message says why.
    """
    stopping, ready = threading.Event(), threading.Event()
    with (
        HeartbeatSender(ledger, "infer", ready=ready.is_set) as heart,
        ThreadPoolExecutor(settings.infer.decode_threads, "decoder") as decoders,
    ):
        from workers.inference.predictor import load_predictor  # noqa: PLC0415 -- torch and monai cost seconds

        predictor = load_predictor(settings.bundle)
        _tell_model(predictor)
        notifier = Notifier(redis_url)
        rooms = Rooms(
            settings=settings,
            ledger=ledger,
            spool=spool,
            predictor=predictor,
            notify=lambda destination: notifier.notify(DELIVER, destination),
            holder=heart.holder,
            decoders=decoders,
            stopping=stopping,
        )
        work(redis_url, INFER, lambda: _answer(rooms), ready=ready, stopping=stopping)
        notifier.close()


def _answer(rooms: Rooms) -> None:
    try:
        infer_due(rooms)
    except LedgerError as exc:  # the leases run out, and the relay rings again
        log.warning("inference_interrupted", exc_info=exc)


def infer_due(rooms: Rooms) -> None:
    """Take every due job, a batch at a time."""
    limits = rooms.settings.infer
    while not rooms.stopping.is_set():
        jobs = rooms.ledger.jobs.lease(
            rooms.holder,
            limits.batch_size,
            lease_seconds=limits.lease_seconds,
            maximum_attempts=limits.maximum_attempts,
        )
        if not jobs:
            return
        infer_batch(rooms, jobs)


def infer_batch(rooms: Rooms, jobs: Sequence[Job]) -> None:
    """Bring each job of a batch one state further; what befalls one stays with that one."""
    readings = rooms.decoders.map(
        lambda job: _attempt(job, partial(_read, rooms, job), rooms), jobs
    )
    legible = [(job, reading) for job, reading in zip(jobs, readings, strict=True) if reading]
    if not legible:
        return
    try:
        predictions = _predict(rooms, [reading for _, reading in legible])
    except Exception:
        log.exception("prediction_failed", batch=len(legible))
        for job, _ in legible:
            _attempt(job, partial(_postpone, rooms, job, "prediction-failed"), rooms)
        return
    for (job, reading), prediction in zip(legible, predictions, strict=True):
        _attempt(job, partial(_conclude, rooms, job, reading, prediction), rooms)


def _read(rooms: Rooms, job: Job) -> LoadedInstance | None:
    began = time.monotonic()
    try:
        reading = read(rooms.predictor, rooms.spool.inbox(job.id))
    except FileNotFoundError:
        _park(rooms, job, Reason.BYTES_MISSING)
        return None
    STAGE_SECONDS.labels(stage="decode").observe(time.monotonic() - began)
    return reading


def _predict(rooms: Rooms, readings: Sequence[LoadedInstance]) -> list[Prediction | NotAnalysable]:
    began = time.monotonic()
    predictions = rooms.predictor.predict([reading.prepared.tensor for reading in readings])
    STAGE_SECONDS.labels(stage="predict").observe(time.monotonic() - began)
    BATCH_SIZE.observe(len(readings))
    return predictions


def _conclude(
    rooms: Rooms, job: Job, reading: LoadedInstance, prediction: Prediction | NotAnalysable
) -> None:
    if isinstance(prediction, NotAnalysable):
        _refuse(rooms, job, prediction.reason, reading.prepared.picture)
        return
    _report(rooms, job, reading.header, reading.prepared.picture, prediction)
    PREDICTIONS.labels(finding=prediction.finding).inc()
    log.info("job_reported", job_id=job.id, finding=prediction.finding)


def _refuse(rooms: Rooms, job: Job, reason: Reason, picture: Pixels | None = None) -> None:
    """Close a job as not analysed, with a report that says so where anybody wants one."""
    wanted = rooms.settings.routes.kinds(Outcome.NOT_ANALYSED)
    if wanted and reason not in LEFT_ALONE:
        conclusion = NotAnalysed(reason=reason, model=rooms.predictor.model)
        try:
            header = read_header(rooms.spool.inbox(job.id))
            _report(rooms, job, header, picture, conclusion)
        except (NotAnalysable, ReportError) as exc:  # a header that nothing can be said about
            log.warning("refusal_unreported", job_id=job.id, exc_info=exc)
        else:
            _count_refusal(job, reason)
            return
    rooms.ledger.jobs.not_analysed(job, reason)
    _count_refusal(job, reason)


def _count_refusal(job: Job, reason: Reason) -> None:
    NOT_ANALYSED.labels(reason=reason).inc()
    log.info("job_closed", job_id=job.id, state=JobState.NOT_ANALYSED, reason=reason)


def _report(
    rooms: Rooms, job: Job, header: Dataset, picture: Pixels | None, conclusion: Conclusion
) -> None:
    began = time.monotonic()
    store_outputs(rooms.settings, rooms.ledger, rooms.spool, job, header, picture, conclusion)
    STAGE_SECONDS.labels(stage="report").observe(time.monotonic() - began)
    END_TO_END_SECONDS.labels(until="reported").observe(max(0.0, time.time() - job.asked_at))
    for destination in rooms.settings.destinations:
        if conclusion.outcome in destination.outcomes:
            rooms.notify(destination.name)


def _attempt(job: Job, step: Callable[[], Result], rooms: Rooms) -> Result | None:
    """Take one step with one job, and turn whatever goes wrong into a state of that job."""
    try:
        return step()
    except StaleLeaseError:
        STALE_LEASES.inc()
        log.warning("stale_lease", job_id=job.id, attempt=job.attempt)
    except NotAnalysable as exc:
        _attempt(job, partial(_refuse, rooms, job, exc.reason), rooms)
    except ReportError:
        log.exception("report_failed", job_id=job.id)
        _park(rooms, job, Reason.REPORT_FAILED)
    except LedgerError as exc:  # the lease runs out by itself
        log.warning("ledger_silent", job_id=job.id, exc_info=exc)
    except Exception:  # one job's trouble must not become the batch's
        log.exception("job_failed", job_id=job.id, attempt=job.attempt)
        _attempt(job, partial(_postpone, rooms, job, "error"), rooms)
    return None


def _park(rooms: Rooms, job: Job, reason: Reason) -> None:
    def write() -> None:
        rooms.ledger.jobs.park(job, reason)
        PARKED.labels(reason=reason).inc()
        log.info("job_closed", job_id=job.id, state=JobState.PARKED, reason=reason)

    _attempt(job, write, rooms)


def _postpone(rooms: Rooms, job: Job, why: str) -> None:
    limits = rooms.settings.infer
    pause = backoff_seconds(
        job.tries, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
    )
    rooms.ledger.jobs.postpone(job, pause, why)


def _tell_model(predictor: "Predictor") -> None:
    model = predictor.model
    MODEL_INFO.labels(
        name=model.name,
        version=model.version,
        weights_sha256=model.weights_sha256[:16],
        operating_point=model.operating_point.name,
        device=predictor.device,
    ).set(1)
    log.info("model_loaded", model=f"{model.name} {model.version}", device=predictor.device)
