"""Notice that a request still moves, so that a slow peer is not taken for a silent one.

A large object over a narrow line takes longer than any response may. pynetdicom counts the wait for
the response from the moment at which the request is queued, and waits without end where the peer
stops reading (pynetdicom 3.0.4, `DIMSEServiceProvider.get_msg`, `AssociationSocket.send`).
"""

import contextlib
import queue
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from pynetdicom import evt
from pynetdicom.association import Association

Touch = Callable[[], None]
"""Called for each piece that is sent or received."""

_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux
_UNSENT_BYTES: Final = 128 * 1024
SOCKET_OPTIONS: Final = (
    [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)]
    if hasattr(socket, "TCP_NOTSENT_LOWAT")  # Linux
    else []
)
"""Bounds what the kernel holds unsent, so that a piece it takes shows that earlier ones went.

Without the bound it takes some megabytes at once, whether or not the peer reads (tcp(7)).
"""


def no_touch() -> None:
    """Record nothing."""


def acknowledge_at_once(connection: socket.socket) -> None:
    """Acknowledge at once, so that a peer with Nagle's algorithm never waits for a delayed ACK.

    The kernel falls back to delayed ACKs after each packet, so this is set after each: also after
    what was sent, for the response to it.
    """
    if _QUICKACK is not None:
        with contextlib.suppress(OSError):  # it was closed in the meantime
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)


class ResponseQueue(queue.Queue[Any]):
    """The received messages of an association; each PDU that is sent begins the wait anew."""

    def __init__(self) -> None:
        super().__init__()
        self._moved_at = time.monotonic()

    def restart(self) -> None:
        """Begin the wait for a message anew."""
        self._moved_at = time.monotonic()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: ANN401,FBT001,FBT002 -- queue's own
        """Return the next message, waiting for so many seconds since the last PDU.

        Raises:
            queue.Empty: there is none.
        """
        if not block or timeout is None:
            return super().get(block, timeout)
        self.restart()
        while True:
            left = self._moved_at + timeout - time.monotonic()
            if left <= 0:
                return super().get(block=False)
            try:
                return super().get(timeout=left)
            except queue.Empty:
                continue


def watch(association: Association, touch: Touch) -> None:
    """Have each PDU of an established association call `touch` and begin its wait anew."""
    messages = ResponseQueue()
    association.dimse.msg_queue = messages

    def note(_: object) -> None:
        messages.restart()
        touch()

    association.bind(evt.EVT_PDU_SENT, note)
    association.bind(evt.EVT_PDU_RECV, note)
