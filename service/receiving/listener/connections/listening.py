"""A socket that accepts connections, in the clear or over TLS."""

import contextlib
import socket
import ssl
from typing import Any, Final

from pynetdicom.transport import AddressInformation

_BACKLOG: Final = 4096  # the kernel lowers it to net.core.somaxconn


class ListeningSocket:
    """A socket that accepts connections.

    Args:
        address: host and port to listen on.
        tls: the context of DICOM over TLS; None listens in the clear. It may be replaced, for the
            connections that follow.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, address: tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        self.socket = _listen(address)
        self.address: tuple[Any, ...] = self.socket.getsockname()
        self.tls = tls

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def _listen(address: tuple[str, int]) -> socket.socket:
    listening = socket.socket(AddressInformation.from_tuple(address).address_family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.settimeout(0)
    except OSError:
        listening.close()
        raise
    return listening
