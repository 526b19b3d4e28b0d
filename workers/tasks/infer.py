"""The infer worker's process: load the bundle, then infer what is due at every notification."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from typing import Final

import structlog

from service.decoding import DecoderPool, DecodersLostError, Template
from service.dispatch.notifier import Notifier
from service.domain.queues import DELIVER, INFER
from service.process_limits import give_way
from service.settings import Settings
from service.storage.faults import Fault, fault_of
from service.storage.ledger import Ledger, LedgerError
from service.storage.spool import Spool
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.metrics import MODEL_INFO
from service.telemetry.progress import Progress
from service.telemetry.tracing.starting import spans_exported
from workers.inference.bundle_error import BundleError
from workers.inference.decoders import DecodingReader
from workers.inference.engines.loader import PredictorLoader
from workers.inference.model_io import AnyPredictor
from workers.tasks.breaker import RestartNeededError, WorkerBreaker
from workers.tasks.celery_worker import work
from workers.tasks.inference_worker import InferenceWorker, most_in_work
from workers.tasks.model_info import publish_model

_SLOW_PATIENCE: Final = 5.0  # seconds; then an instance makes room, to be tried again later

log = structlog.get_logger()


def run(
    settings: Settings, ledger: Ledger, spool: Spool, redis_url: str, template: Template
) -> None:
    """Load the bundle, then infer due jobs at every wake-up until SIGTERM.

    Args:
        settings: of the worker.
        ledger: has the jobs.
        spool: has what was received.
        redis_url: of the broker of notifications.
        template: of the bundle's decoders, which ends with them.

    Raises:
        BundleError: the bundle cannot be used; the message says why.
        RestartNeededError: the process must start anew, because of a fault of the environment.
    """
    loader = PredictorLoader(settings)
    stopping, ready = threading.Event(), threading.Event()
    progress = Progress()
    threads = 2 * most_in_work(settings)  # each job has one, and another reads its picture
    with (
        ThreadPoolExecutor(threads, "decoder") as decoders,  # outermost: they end with the template
        closing(template),
        closing(DecoderPool(template, settings.decoding, settings.infer.decode_threads)) as pool,
        closing(DecoderPool(template, settings.decoding, 1)) as concluding,
        spans_exported(settings.tracing, "infer"),
        HeartbeatSender(ledger, "infer", ready.is_set, progress) as heartbeat,
    ):
        reader = DecodingReader(pool, slow_patience=_SLOW_PATIENCE)
        with progress.working("loading", settings.start_seconds):
            breaker = WorkerBreaker(ledger, heartbeat.holder, settings.infer)
            predictor = _load_predictor(partial(loader.load, reader, concluding), breaker)
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
            reader=reader,
            stopping=stopping,
            progress=progress,
        )
        give_way(settings.infer.niceness)  # not before: what is loaded is waited for
        with _serving(worker):
            work(redis_url, INFER, worker.receive, ready=ready, stopping=stopping)
        notifier.close()
    if worker.breaker.restart_for is not None:
        raise RestartNeededError(worker.breaker.restart_for)


def _load_predictor(load: Callable[[], AnyPredictor], breaker: WorkerBreaker) -> AnyPredictor:
    """Load the bundle.

    Raises:
        BundleError: it cannot be used.
        RestartNeededError: it cannot be used now: memory or the device fails, or something else
            has failed since an earlier process loaded it.
    """
    try:
        return load()
    except (BundleError, RuntimeError, MemoryError) as error:
        fault, before = fault_of(error), breaker.look()
        if fault not in {Fault.DEVICE_FAILED, Fault.OUT_OF_MEMORY}:  # a wrong path looks so too
            fault = before.fault if before else None
        if fault is None or fault is Fault.PREDICTOR_FAILED:  # perhaps another bundle by now
            raise
        breaker.open(fault)
        log.exception("model_not_loaded", fault=fault)
        raise RestartNeededError(fault, str(error)) from error


@contextmanager
def _serving(worker: InferenceWorker) -> Iterator[None]:
    """Have a thread infer what is due at every notice, until the block ends and `stopping` is set.

    Celery's own thread would receive no notification while it infers.
    """
    thread = threading.Thread(target=_serve, args=(worker,), name="infer")
    thread.start()
    try:
        yield
    finally:
        worker.stopping.set()
        worker.notice()
        thread.join()


def _serve(worker: InferenceWorker) -> None:
    while not worker.stopping.is_set() and worker.breaker.restart_for is None:
        worker.wait_for_notice()
        try:
            _wake(worker)
        except Exception:  # leases run out, and the next notice begins anew
            log.exception("inference_interrupted")


def _wake(worker: InferenceWorker) -> None:
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
        os.kill(os.getpid(), signal.SIGTERM)  # Celery's thread ends as for the supervisor


def _publish_model(predictor: AnyPredictor) -> None:
    model = publish_model(MODEL_INFO, predictor)
    log.info("model_loaded", model=model, device=predictor.device)
