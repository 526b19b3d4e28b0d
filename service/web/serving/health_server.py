"""Health and metrics on addresses of their own, by a thread of its own.

Whatever happens to the pages' address reaches neither its event loop nor its connections, threads
or connection to the ledger.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final

import structlog
from fastapi import FastAPI

from service.settings import ConfigurationError, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web import health
from service.web.serving.limits import limits_of_health
from service.web.serving.no_telemetry import NO_TELEMETRY
from service.web.serving.server import BoundedServer
from service.web.serving.unix_socket import listening_on

_END_SECONDS: Final = 5.0

log = structlog.get_logger()


@contextmanager
def serving_health(settings: Settings, spool: Spool) -> Iterator[None]:
    """Serve health and metrics while the block runs.

    A Unix socket that cannot be made is logged, and no reason not to serve the pages.

    Raises:
        ConfigurationError: the port that is configured cannot be listened on.
    """
    with ExitStack() as stack:
        sockets = _listen(settings, stack)
        ledger = stack.enter_context(closing(Ledger(settings.ledger_url)))
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, telemetry=NO_TELEMETRY)
        app.include_router(health.router(settings, ledger, spool))
        server = BoundedServer(app, limits_of_health(settings.web))
        thread = threading.Thread(target=server.run, args=(sockets,), name="health", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(timeout=_END_SECONDS)


def _listen(settings: Settings, stack: ExitStack) -> list[socket.socket]:
    sockets = []
    path, for_group = settings.health_socket, settings.health.socket_for_group
    try:
        sockets.append(stack.enter_context(listening_on(path, for_group=for_group)))
    except OSError as exc:
        log.warning("health_socket_unavailable", exc_info=exc)
    host, port = settings.health.host, settings.health.port
    if port is not None:
        sockets.append(stack.enter_context(listen(host, port, "health")))
        log.info("health_serving", host=host, port=port)
    return sockets


def listen(host: str, port: int, section: str) -> socket.socket:
    """Listen on an address of the settings.

    Raises:
        ConfigurationError: that is not possible; the message names the settings.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as exc:
        raise ConfigurationError(
            f"{section}.host {host} and {section}.port {port} cannot be listened on: "
            f"{exc.strerror}."
        ) from exc
