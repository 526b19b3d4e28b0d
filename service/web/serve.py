"""The web process: serve until SIGTERM, then finish the requests in progress."""

import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

from service.decoding.pictures import PictureConverter
from service.decoding.radiograph import Radiographs
from service.domain.audit import Action
from service.receiving.ingest import Ingest
from service.settings import ConfigurationError, Settings
from service.settings.exposure import web_fault
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.telemetry.progress import Progress
from service.web.app import create_app
from service.web.changes import Changes
from service.web.serving.health_server import listen, serving_health
from service.web.serving.limits import Limits, limits_of_pages
from service.web.serving.server import BoundedServer
from service.web.trail import Trail

_EVENT_LOOP: Final = "event-loop"
_DRAINED_SHARE: Final = 0.8  # of drain_seconds; the rest is for the caller's clean-up

log = structlog.get_logger()


class StreamEndingServer(BoundedServer):
    """A server that ends the streams of events before it waits for the requests in progress."""

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        changes: Changes,
        *,
        each_second: Callable[[], None] = lambda: None,
        drain_seconds: int = 1,
    ) -> None:
        super().__init__(app, limits, each_second=each_second, drain_seconds=drain_seconds)
        self._changes = changes

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain."""
        self._changes.end()
        await super().shutdown(sockets)


def serve(
    settings: Settings,
    ledger: Ledger,
    spool: Spool,
    ingest: Ingest,
    pictures: PictureConverter,
    radiographs: Radiographs,
    progress: Progress | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; restores the caller's handlers of both.

    The event loop touches `progress` every second.

    Raises:
        ConfigurationError: the address is open to the network and that was not allowed, or it
            cannot be listened on.
    """
    progress = progress or Progress()
    # the event loop does not call back while it drains
    seconds = settings.stuck_seconds + settings.drain_seconds
    with (
        _listen(settings) as listening,
        serving_health(settings, spool),
        progress.working(_EVENT_LOOP, seconds),
    ):
        changes = Changes(ledger.worklist.revision)
        server = StreamEndingServer(
            create_app(settings, ledger, spool, ingest, pictures, radiographs, changes),
            limits_of_pages(settings.web),
            changes,
            each_second=partial(progress.touch, _EVENT_LOOP),
            drain_seconds=max(1, int(settings.drain_seconds * _DRAINED_SHARE)),
        )
        log.info("web_serving", host=settings.web.host, port=settings.web.port)
        trail = Trail(ledger)
        trail.record_server(Action.START)
        try:
            _run(server, listening)
        finally:
            trail.record_server(Action.STOP)


def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    # Once drained, uvicorn raises the signal again, which by default would end the process
    # before its caller could close ledger and lease.
    previous = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        server.run(sockets=[listening])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.web.host, settings.web.port
    fault = web_fault(settings.web)
    if fault is not None:
        raise ConfigurationError(fault)
    return listen(host, port, "web")
