"""The end of a connection of pynetdicom, which closes its socket whatever the peer did.

pynetdicom 3.0.4 does not close a socket that it cannot shut down: one that the peer refused, or has
reset. Its descriptor then stays until Python collects what refers to it.
"""

import contextlib
import socket

from pynetdicom.transport import AssociationSocket


def close_refused_and_reset_sockets() -> None:
    """Let pynetdicom close every socket at its end; it holds for all associations of a process."""
    AssociationSocket._shutdown_socket = _end  # type: ignore[method-assign,assignment]  # noqa: SLF001 -- there is no public way


def _end(transport: AssociationSocket) -> None:
    connection = transport.socket
    if connection is None:
        return
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
