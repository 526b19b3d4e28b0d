"""The parts of the service, each as one process: what it opens, does and closes."""

import signal
import threading

from service.dispatch.notifier import Notifier
from service.dispatch.relay import Relay
from service.domain.queues import INFER
from service.receiving.ingest import Ingest
from service.receiving.listener import Listener
from service.settings import Settings
from service.storage.opening import open_stores, redis_url
from service.telemetry.heartbeat import HeartbeatSender
from service.web.serve import serve


def run_listener(settings: Settings) -> None:
    """Take instances until SIGTERM, then finish the ones that are coming in."""
    stopping = _until_told()
    notifier = Notifier(redis_url(settings))
    with open_stores(settings) as (ledger, spool):
        listener = Listener(settings, spool, ledger, lambda: notifier.notify(INFER))
        listener.start()
        with HeartbeatSender(ledger, "listener", ready=lambda: not stopping.is_set()):
            stopping.wait()
            listener.drain(settings.drain_seconds)
    notifier.close()


def run_relay(settings: Settings) -> None:
    """Ring for due work until SIGTERM."""
    stopping = _until_told()
    notifier = Notifier(redis_url(settings))
    with (
        open_stores(settings) as (ledger, spool),
        HeartbeatSender(ledger, "relay", ready=lambda: not stopping.is_set()),
    ):
        Relay(settings, ledger, spool, notifier).run(stopping)
    notifier.close()


def run_web(settings: Settings) -> None:
    """Serve pages, API, health and metrics until SIGTERM."""
    notifier = Notifier(redis_url(settings))
    with open_stores(settings) as (ledger, spool):
        ingest = Ingest(spool, ledger, lambda: notifier.notify(INFER))
        with HeartbeatSender(ledger, "web", ready=lambda: True):
            serve(settings, ledger, spool, ingest)
    notifier.close()


def _until_told() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stopping = threading.Event()

    def _stop(_number: int, _frame: object) -> None:
        # no word in here: the log's lock may be held by the very line that was interrupted
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    return stopping
