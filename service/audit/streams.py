"""Streams to a syslog server that end in an orderly way, or say that they did not.

Nothing of the standard library says whether a peer has read what was sent. The end of a stream
does: what a process has not read when it closes a connection makes its machine reset it
(RFC 1122, section 4.2.2.13), and over TLS a close_notify is answered by one (RFC 5425, 4.4).
"""

import contextlib
import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

_MOST_READ: Final = 1 << 16  # of what a server may say, which is nothing
_POLL_SECONDS: Final = 0.002

Result = TypeVar("Result")


class Stream(Protocol):
    """A stream to a server."""

    @property
    def kind(self) -> str:
        """The protocol and its version."""

    def send(self, content: bytes) -> None:
        """Send everything, within the time limit."""

    def end(self) -> None:
        """End the stream, and wait until the server has read it and ended its own.

        Raises:
            OSError: It did not read everything, or did not end in time.
        """


class TcpStream:
    """A stream over TCP."""

    kind = "TCP"

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        connection.settimeout(seconds)

    def send(self, content: bytes) -> None:
        """Send everything, within the time limit."""
        self._connection.sendall(content)

    def receive(self) -> bytes:
        """Return what the server says; nothing once it has ended."""
        return self._connection.recv(_MOST_READ)

    def end(self) -> None:
        """End the stream, and wait until the server has read it and ended its own.

        Raises:
            OSError: It did not read everything, or did not end in time.
        """
        deadline = time.monotonic() + self._seconds
        # what arrives after the server has closed is reset too, but after its end was seen here
        while self._unacknowledged_bytes():
            _require_time(deadline)
            time.sleep(_POLL_SECONDS)
        self._connection.shutdown(socket.SHUT_WR)
        while self.receive():
            _require_time(deadline)

    def _unacknowledged_bytes(self) -> int:
        """Return how many bytes have not arrived at the server's machine (SIOCOUTQ, tcp(7))."""
        answer = fcntl.ioctl(self._connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        return int(struct.unpack("i", answer)[0])


class TlsStream:
    """A stream over TLS on a stream over TCP.

    It is an `SSLObject`, because `SSLSocket.unwrap` does not do: it takes any alert of the server,
    a refused certificate too, for an orderly end.
    """

    def __init__(self, below: TcpStream, context: ssl.SSLContext, host: str) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._do(self._tls.do_handshake)

    @property
    def kind(self) -> str:
        """The protocol and its version."""
        return self._tls.version() or "TLS"

    def send(self, content: bytes) -> None:
        """Send everything, within the time limit."""
        if content:
            self._do(lambda: self._tls.write(content))

    def end(self) -> None:
        """End the stream, and wait until the server has read it and ended its own.

        Raises:
            OSError: It did not read everything, refused, or did not end in time.
        """
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()  # sends close_notify; there is nothing to read yet
        self._flush()
        with contextlib.suppress(ssl.SSLZeroReturnError):  # the server's close_notify
            while self._do(lambda: self._tls.read(_MOST_READ)):
                pass
        self._below.end()

    def _do(self, step: Callable[[], Result]) -> Result:
        """Take a step of the protocol, with what the server says for it."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._flush()
                said = self._below.receive()
                if said:
                    self._incoming.write(said)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        waiting = self._outgoing.read()
        if waiting:
            self._below.send(waiting)


def _require_time(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError
