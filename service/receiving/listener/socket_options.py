"""What our end of a connection is told to do: send at once, acknowledge at once, wait in bounds.

Senders leave Nagle's algorithm on; together with delayed acknowledgement it would cost each C-STORE
one or two times 44 ms (docs/adr/0030-listener.md). Both can be cured from this end.
"""

import socket

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux


def tune(connection: socket.socket, *, silence_seconds: float) -> None:
    """Send small answers at once; give up on a peer silent for so long in the midst of a PDU."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(silence_seconds)


def acknowledge_at_once(connection: socket.socket) -> None:
    """Acknowledge what came in now; the kernel falls back to delaying, so this is said again."""
    if _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
