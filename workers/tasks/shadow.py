"""The shadow worker's process: load the second bundle, then read what was reported."""

import signal
import threading
from contextlib import closing
from typing import Final

import structlog

from service.decoding import DecoderPool, DecodersLostError, Template
from service.errors import EX_TEMPFAIL, ExplainedError
from service.process_limits import give_way
from service.settings import BundleSettings, ConfigurationError, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.metrics import SHADOW_INFO
from service.telemetry.progress import Progress
from workers.inference import pins
from workers.inference.bundle_error import BundleError
from workers.inference.decoders import DecodingReader, RadiographHandler
from workers.inference.model_io import AnyPredictor
from workers.tasks.model_info import publish_model
from workers.tasks.shadow_worker import ShadowWorker

_BEHIND: Final = 10  # the niceness of the model that reports
_PATIENCE: Final = 5.0  # seconds; then an instance makes room, to be tried again later

log = structlog.get_logger()


class ShadowLostError(ExplainedError):
    """The shadow worker must start anew."""

    exit_status = EX_TEMPFAIL


def run(settings: Settings, ledger: Ledger, spool: Spool) -> None:
    """Load the second bundle, and read what was reported, until SIGTERM.

    A bundle that cannot be used is logged, and the process waits for its end: it must not end the
    service, which does without it.

    Raises:
        ConfigurationError: no second bundle is configured.
        ShadowLostError: the process must start anew.
    """
    bundle = settings.shadow.bundle
    if bundle is None:
        raise ConfigurationError("shadow.path (LOBAR_SHADOW__PATH) is not set.")
    give_way(settings.infer.niceness + _BEHIND)
    stopping = _stop_event()
    try:
        pins.verify(bundle)
    except BundleError as error:
        _wait_without_model(ledger, stopping, error)
        return
    _serve(settings, bundle, ledger, spool, stopping)


def _serve(
    settings: Settings,
    bundle: BundleSettings,
    ledger: Ledger,
    spool: Spool,
    stopping: threading.Event,
) -> None:
    # torch and monai cost seconds and 300 MB: decoders, which need them too, share those
    import workers.inference.predictor  # noqa: F401, PLC0415 -- see above

    ready, progress = threading.Event(), Progress()
    # before the first thread, and before the weights: decoders are forked from this state
    template = Template(RadiographHandler(bundle.path))
    with (
        closing(template),
        closing(DecoderPool(template, settings.decoding, 1)) as pool,
        HeartbeatSender(ledger, "shadow", ready.is_set, progress) as heartbeat,
    ):
        try:
            with progress.working("loading", settings.start_seconds):
                predictor = _load(bundle)
        except BundleError as error:
            _log_fault(error)
            stopping.wait()  # idle, which is not being stuck
            return
        worker = ShadowWorker(
            settings=settings,
            ledger=ledger,
            spool=spool,
            predictor=predictor,
            holder=heartbeat.holder,
            reader=DecodingReader(pool, slow_patience=_PATIENCE),
            stopping=stopping,
            progress=progress,
        )
        ready.set()
        try:
            worker.run()
        except DecodersLostError as error:
            raise ShadowLostError("No decoder can be started.") from error


def _load(bundle: BundleSettings) -> AnyPredictor:
    """Load the bundle with torch; no engine is looked for, since nobody waits for this model.

    Raises:
        BundleError: it cannot be used.
    """
    from workers.inference.predictor import load_predictor  # noqa: PLC0415 -- torch and monai cost seconds

    predictor = load_predictor(bundle)
    model = publish_model(SHADOW_INFO, predictor)
    log.info("shadow_loaded", model=model, device=predictor.device)
    return predictor


def _wait_without_model(ledger: Ledger, stopping: threading.Event, error: BundleError) -> None:
    _log_fault(error)
    with HeartbeatSender(ledger, "shadow", lambda: False, Progress()):
        stopping.wait()


def _log_fault(error: BundleError) -> None:
    """Log why the bundle cannot be used; the message names files and settings only."""
    words = str(error).encode("ascii", "replace").decode()[:1000]
    log.error("shadow_not_loaded", message=words)


def _stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stopping = threading.Event()

    def _stop(_number: int, _frame: object) -> None:
        # log nothing here: the interrupted statement may hold the lock of the log
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    return stopping
