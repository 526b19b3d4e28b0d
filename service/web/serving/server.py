"""A server that knows its connections, and accepts no more at once than it can open."""

import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from service.web.serving.connections import Connections
from service.web.serving.limits import Limits
from service.web.serving.protocol import bounded_by

_ACCEPTED_AT_ONCE: Final = 64  # asyncio takes as many before it closes any: each is a descriptor
_QUEUED: Final = 2048  # in the kernel
_TICKS_PER_SECOND: Final = 10  # of uvicorn's main loop


class BoundedServer(uvicorn.Server):
    """A uvicorn server whose clients are bounded.

    Args:
        app: the application.
        limits: what clients may take.
        each_second: called in the event loop while it serves, not while it drains.
        drain_seconds: for how long requests in progress are waited for at the end.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        *,
        each_second: Callable[[], None] = lambda: None,
        drain_seconds: int = 1,
    ) -> None:
        self._bounded = Connections(limits)
        self._each_second = each_second
        config = uvicorn.Config(
            app,
            http=bounded_by(self._bounded),
            ws="none",  # its protocol would take a connection away from ours
            backlog=_ACCEPTED_AT_ONCE,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # Forwarded reads them, of sign_in.proxy_addresses alone
            timeout_graceful_shutdown=drain_seconds,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, with a long queue in the kernel, and without Nagle's algorithm."""
        for each in sockets or ():
            _send_at_once(each)
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_QUEUED)

    async def on_tick(self, counter: int) -> bool:
        """Look for slow clients every second, by a clock that nobody sets."""
        if counter % _TICKS_PER_SECOND == 0:
            self._bounded.sweep()
            self._each_second()
        return await super().on_tick(counter)


def _send_at_once(listening: socket.socket) -> None:
    """Let no response wait for the client's acknowledgement of its header, which takes 40 ms.

    The connections that are accepted inherit the option. asyncio sets it only for a socket whose
    protocol number is given, and `socket.create_server` gives none.
    """
    if listening.family != socket.AF_UNIX:
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
