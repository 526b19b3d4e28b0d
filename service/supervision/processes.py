"""The listener, the relay and the web server, each as one process that runs until SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Final

from service.audit.export import AuditExporter
from service.decoding import DecoderPool, Template
from service.decoding.pictures import PictureConverter
from service.decoding.radiograph import Radiographs
from service.decoding.web_handler import WebHandler
from service.dispatch.notifier import Notifier
from service.dispatch.relay import Relay
from service.domain.queues import INFER
from service.receiving.ingest import Ingest
from service.receiving.listener import Listener
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.opening import open_stores, redis_url
from service.supervision.notice import print_first_user_notice
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.progress import Progress
from service.web.serve import serve

_DECODERS: Final = 2  # pictures and radiographs at once, and one more that takes long
_PATIENCE: Final = 5.0  # seconds that a request waits for one of them
_NOTICE_SECONDS: Final = 1.0  # after which a signal to stop is noticed at the latest


def run_listener(settings: Settings) -> None:
    """Receive instances until SIGTERM, then complete the transfers in progress."""
    stopping = _stop_event()
    with (
        closing(Notifier(redis_url(settings))) as notifier,
        open_stores(settings) as (ledger, spool),
    ):
        progress = Progress()
        listener = Listener(
            settings,
            spool,
            ledger,
            lambda: notifier.notify(INFER),
            touch=partial(progress.touch, "accept"),
        )
        listener.start()
        with HeartbeatSender(ledger, "listener", lambda: not stopping.is_set(), progress):
            with progress.working("accept", settings.stuck_seconds):
                while not stopping.wait(_NOTICE_SECONDS):
                    pass  # a signal that another thread of the process took does not wake this one
            listener.drain(settings.drain_seconds)


def run_relay(settings: Settings) -> None:
    """Notify the workers of due work, and export the audit trail, until SIGTERM."""
    stopping = _stop_event()
    progress = Progress()
    with (
        closing(Notifier(redis_url(settings))) as notifier,
        open_stores(settings) as (ledger, spool),
        HeartbeatSender(ledger, "relay", lambda: not stopping.is_set(), progress),
        _exporting(settings, ledger, stopping),
    ):
        Relay(settings, ledger, spool, notifier, progress).run(stopping)


def run_web(settings: Settings) -> None:
    """Serve pages, API, health and metrics until SIGTERM."""
    with (
        closing(Template(WebHandler())) as template,  # before the first thread
        closing(DecoderPool(template, settings.decoding, _DECODERS)) as pool,
        closing(Notifier(redis_url(settings))) as notifier,
        open_stores(settings) as (ledger, spool),
    ):
        ingest = Ingest(spool, ledger, lambda: notifier.notify(INFER))
        pictures = PictureConverter(pool, patience=_PATIENCE)
        radiographs = Radiographs(pool, patience=_PATIENCE)
        progress = Progress()
        print_first_user_notice(settings, ledger)
        with HeartbeatSender(ledger, "web", lambda: True, progress):
            serve(settings, ledger, spool, ingest, pictures, radiographs, progress)


@contextmanager
def _exporting(settings: Settings, ledger: Ledger, stopping: threading.Event) -> Iterator[None]:
    """Export the audit trail in a thread of its own, where a syslog server is configured.

    The relay's progress does not depend on it: a syslog server that hangs delays nothing else.
    """
    if settings.audit.syslog_host is None:
        yield
        return
    exporter = AuditExporter(settings, ledger)
    thread = threading.Thread(
        target=exporter.run, args=(stopping,), name="audit-export", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join(timeout=min(settings.drain_seconds / 2, settings.audit.syslog_seconds))


def _stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stopping = threading.Event()

    def _stop(_number: int, _frame: object) -> None:
        # log nothing here: the interrupted statement may hold the lock of the log
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    return stopping
