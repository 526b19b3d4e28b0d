"""The parts of the service, each as one process: what it opens, does and closes."""

import signal
import threading

from service.dispatch.notifier import Doorbell
from service.dispatch.relay import Relay
from service.domain.queues import INFER
from service.receiving.ingest import Reception
from service.receiving.listener import Listener
from service.settings import Settings
from service.storage.opening import memory, redis_url
from service.telemetry.heartbeat import Heart
from service.web.serve import serve


def run_listener(settings: Settings) -> None:
    """Take instances until SIGTERM, then finish the ones that are coming in."""
    stopping = _until_told()
    doorbell = Doorbell(redis_url(settings))
    with memory(settings) as (ledger, spool):
        listener = Listener(settings, spool, ledger, lambda: doorbell.ring(INFER))
        listener.start()
        with Heart(ledger, "listener", ready=lambda: not stopping.is_set()):
            stopping.wait()
            listener.drain(settings.drain_seconds)
    doorbell.close()


def run_relay(settings: Settings) -> None:
    """Ring for due work until SIGTERM."""
    stopping = _until_told()
    doorbell = Doorbell(redis_url(settings))
    with (
        memory(settings) as (ledger, spool),
        Heart(ledger, "relay", ready=lambda: not stopping.is_set()),
    ):
        Relay(settings, ledger, spool, doorbell).run(stopping)
    doorbell.close()


def run_web(settings: Settings) -> None:
    """Serve pages, API, health and metrics until SIGTERM."""
    doorbell = Doorbell(redis_url(settings))
    with memory(settings) as (ledger, spool):
        reception = Reception(spool, ledger, lambda: doorbell.ring(INFER))
        with Heart(ledger, "web", ready=lambda: True):
            serve(settings, ledger, spool, reception)
    doorbell.close()


def _until_told() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stopping = threading.Event()

    def _stop(_number: int, _frame: object) -> None:
        # no word in here: the log's lock may be held by the very line that was interrupted
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    return stopping
