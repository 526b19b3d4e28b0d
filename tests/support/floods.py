"""Floods of connections to a port of 127.0.0.1, from several addresses of loopback."""

import contextlib
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Final

from support.system.ports import LOOPBACK

OTHERS: Final = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
_OPENED_AT_ONCE: Final = 50
_TURN_SECONDS: Final = 0.02
_READ_AT_ONCE: Final = 4096


class Flood:
    """Keeps so many connections open; one that is closed is opened again.

    Args:
        port: where to connect to.
        count: how many connections.
        sources: the addresses to connect from, in turn.
        says: what each connection sends at once.
        drips: what each connection sends after that, a byte each second.
    """

    def __init__(
        self,
        port: int,
        count: int,
        *,
        sources: Sequence[str] = OTHERS,
        says: bytes = b"",
        drips: bytes = b"",
    ) -> None:
        self._port = port
        self._count = count
        self._sources = cycle(sources)
        self._says, self._drips = says, drips
        self._selector = selectors.DefaultSelector()
        self._dripped: dict[socket.socket, int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.opened = 0
        self.closed = 0

    def start(self) -> None:
        """Open the connections."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connections."""
        self._stopping.set()
        self._thread.join()
        for connection in list(self._dripped):
            connection.close()
        self._selector.close()

    def _run(self) -> None:
        dripped = time.monotonic()
        while not self._stopping.wait(_TURN_SECONDS):
            for key, _ in self._selector.select(0):
                self._read(key.fileobj)
            for _ in range(min(_OPENED_AT_ONCE, self._count - len(self._dripped))):
                self._open()
            if self._drips and time.monotonic() > dripped + 1:
                dripped = time.monotonic()
                for connection in list(self._dripped):
                    self._drip(connection)

    def _open(self) -> None:
        connection = socket.socket()
        try:
            connection.bind((next(self._sources), 0))
            connection.settimeout(5)
            connection.connect((LOOPBACK, self._port))
            connection.settimeout(0)
            if self._says:
                connection.send(self._says)
        except OSError:
            connection.close()
            return
        self.opened += 1
        self._dripped[connection] = 0
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, connection: object) -> None:
        assert isinstance(connection, socket.socket)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            if connection.recv(_READ_AT_ONCE):
                return
        self._close(connection)

    def _drip(self, connection: socket.socket) -> None:
        place = self._dripped[connection]
        try:
            connection.send(self._drips[place : place + 1])
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        self._dripped[connection] = place + 1

    def _close(self, connection: socket.socket) -> None:
        self.closed += 1
        self._selector.unregister(connection)
        del self._dripped[connection]
        connection.close()


@contextmanager
def flooding(
    port: int,
    count: int,
    *,
    sources: Sequence[str] = OTHERS,
    says: bytes = b"",
    drips: bytes = b"",
) -> Iterator[Flood]:
    """Flood a port; the block begins when so many connections were opened once."""
    allow_descriptors(count + 500)
    flood = Flood(port, count, sources=sources, says=says, drips=drips)
    flood.start()
    try:
        until = time.monotonic() + 60
        while flood.opened < count:
            assert time.monotonic() < until, f"only {flood.opened} connections could be opened"
            time.sleep(_TURN_SECONDS)
        yield flood
    finally:
        flood.stop()


def allow_descriptors(count: int) -> None:
    """Raise this process's limit of open files, if it is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
