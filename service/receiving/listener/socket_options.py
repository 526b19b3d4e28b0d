"""Set socket options: send at once, acknowledge at once, wait for a limited time.

Senders leave Nagle's algorithm on; together with delayed acknowledgement it would cost each C-STORE
one or two times 44 ms (docs/adr/0030-listener.md). Both can be avoided from this end.
"""

import socket

_QUICKACK = getattr(socket, "TCP_QUICKACK", None)  # Linux


def tune(connection: socket.socket, *, silence_seconds: float) -> None:
    """Send small responses at once; time out when the peer is silent in the middle of a PDU."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(silence_seconds)


def acknowledge_at_once(connection: socket.socket) -> None:
    """Acknowledge received bytes now; repeated after reads, because the kernel resets it."""
    if _QUICKACK is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
