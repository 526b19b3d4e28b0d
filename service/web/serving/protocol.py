"""uvicorn's HTTP/1.1 protocol, with a bound for what a client may make it wait.

uvicorn has a time limit between two requests and none within one: a client that sends half a head
holds its connection for ever, and `limit_concurrency` counts it as a request in progress.
"""

import asyncio
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.web.serving.connections import Connections, Phase
from service.web.serving.limits import Ended

_TIMED_OUT: Final = (  # RFC 9110 15.5.9
    b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 27\r\nconnection: close\r\n\r\nThe request took too long.\n"
)


class BoundedProtocol(H11Protocol):
    """One connection, known to the `connections` of its server."""

    connections_of_server: ClassVar[Connections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Note a new connection, which may be refused at once."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._is_ended = self._has_begun = False
        self.connections_of_server.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.connections_of_server.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent, unless its connection is ended already."""
        if self._is_ended:
            return
        self._has_begun = True
        super().data_received(data)
        self.connections_of_server.received(self, len(data))

    def on_response_complete(self) -> None:
        """Note that the server waits for the client again."""
        super().on_response_complete()
        self._has_begun = False
        self.connections_of_server.answered(self)

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than the application writes."""
        super().pause_writing()
        self.connections_of_server.must_wait(self, self.unsent_bytes())

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        self.connections_of_server.has_read(self)

    def phase(self) -> Phase:
        """Return what the connection waits for."""
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.cycle is None or self.cycle.response_complete:
            return Phase.HEAD
        return Phase.RESPONSE

    def is_held_back(self) -> bool:
        """Return whether the client is not read from, because the application is slower."""
        return self.flow.read_paused

    def unsent_bytes(self) -> int:
        """Return how much of the response waits for the client to read."""
        return self.transport.get_write_buffer_size()

    def end(self, reason: Ended) -> None:
        """End the connection; with a 408 where a request was begun and not answered yet.

        What the application reads next is that the client has gone.
        """
        self._is_ended = True
        self._unset_keepalive_if_required()
        is_late = reason in {Ended.SLOW_HEAD, Ended.SLOW_BODY} and self._has_begun
        if is_late and not self._is_answering():
            self.transport.write(_TIMED_OUT)  # it fits into the buffer of the kernel
        if self.unsent_bytes():  # else it stays open until the client reads
            self.transport.abort()
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and self.cycle.response_started and self.phase() != Phase.HEAD


def bounded_by(connections: Connections) -> Any:  # noqa: ANN401 -- uvicorn takes any factory
    """Return the protocol class of a server with these connections."""
    return type("BoundedProtocol", (BoundedProtocol,), {"connections_of_server": connections})
