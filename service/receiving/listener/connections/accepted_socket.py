"""The socket of an association: it sends within a time limit, and can be waited for by number.

pynetdicom's own starts each piece's time anew, so that a peer that reads a byte a minute holds a
thread for ever; and it waits with `select`, which fails for descriptors beyond 1023.
"""

import contextlib
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING

from pynetdicom.transport import AssociationSocket

from service.receiving.listener.refusals import Aborted, StalledError, record_abort

if TYPE_CHECKING:
    from pynetdicom.association import Association


class AcceptedSocket(AssociationSocket):
    """The connection of an accepted association."""

    def __init__(
        self, association: "Association", connection: socket.socket, host: str, seconds: float
    ) -> None:
        super().__init__(association, client_socket=connection)
        self._host = host
        self._send_seconds = seconds
        self._is_stalled = False

    def send(self, bytestream: bytes) -> None:
        """Send a PDU; the connection is closed upon a peer that does not read it in time."""
        if self.socket is None or self._is_stalled:
            return
        until = time.monotonic() + self._send_seconds
        left = memoryview(bytestream)
        try:
            left = left[self.socket.send(left) :]  # within the socket's own time limit, the same
            while left:
                self.socket.settimeout(max(0.001, until - time.monotonic()))
                left = left[self.socket.send(left) :]
        except TimeoutError:
            self._is_stalled = True  # nothing more can be said to it, an abort neither
            record_abort(Aborted.NOT_READING, self._host, StalledError(Aborted.NOT_READING))
            self.event_queue.put("Evt17")
        except OSError:
            self.event_queue.put("Evt17")  # transport connection closed

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        if self.socket is None or self.socket.fileno() < 0:
            return False
        if has_pending(self.socket):
            return True
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        return bool(waiting.poll(0))

    def disconnect(self) -> None:
        """Shut the connection down; a thread that waits for it wakes up."""
        if self.socket is not None:
            with contextlib.suppress(OSError):  # it is closed already
                # ssl's own would let the thread that reads go on in the clear
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


def has_pending(connection: socket.socket | None) -> bool:
    """Return whether bytes of TLS are decrypted already: the kernel has no more to wake us for."""
    try:
        return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
    except (OSError, ValueError):  # it was closed
        return False
