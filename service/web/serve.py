"""The web process: serve until SIGTERM, then finish the requests in progress."""

import signal
import socket
from typing import Final

import structlog
import uvicorn

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
from service.web.trail import Trail

_MOST_REQUESTS: Final = 200  # at the same time; more get a 503
_EVENT_LOOP: Final = "event-loop"
_DRAINED_SHARE: Final = 0.8  # of drain_seconds; the rest is for the caller's clean-up

log = structlog.get_logger()


class StreamEndingServer(uvicorn.Server):
    """A server that ends the streams of events before it waits for the requests in progress."""

    def __init__(self, config: uvicorn.Config, changes: Changes) -> None:
        super().__init__(config)
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

    async def touch() -> None:
        progress.touch(_EVENT_LOOP)

    # the event loop does not call back while it drains
    seconds = settings.stuck_seconds + settings.drain_seconds
    with _listen(settings) as listening, progress.working(_EVENT_LOOP, seconds):
        changes = Changes(ledger.worklist.revision)
        server = StreamEndingServer(
            uvicorn.Config(
                create_app(settings, ledger, spool, ingest, pictures, radiographs, changes),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # Forwarded reads them, of sign_in.proxy_addresses alone
                limit_concurrency=_MOST_REQUESTS,
                callback_notify=touch,
                timeout_notify=1,
                timeout_graceful_shutdown=max(1, int(settings.drain_seconds * _DRAINED_SHARE)),
            ),
            changes,
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
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as exc:
        raise ConfigurationError(
            f"web.host {host} and web.port {port} cannot be listened on: {exc.strerror}."
        ) from exc
