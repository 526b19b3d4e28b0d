"""The sockets on which the listener accepts connections, in the clear or over TLS.

It imports nothing of DICOM, because `lobar up` asks here whether the ports are free.
"""

import contextlib
import errno
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final

from service.errors import EX_TEMPFAIL
from service.settings import ConfigurationError, DicomSettings

_BACKLOG: Final = 4096  # the kernel lowers it to net.core.somaxconn


class PortInUseError(ConfigurationError):
    """Another process listens on the address; a restart may help, once that has ended."""

    exit_status = EX_TEMPFAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningAddress:
    """A host and port to listen on, and the settings that name them."""

    host: str
    port: int
    settings: tuple[str, str]
    is_tls: bool


class ListeningSocket:
    """A socket that accepts connections.

    Args:
        address: where to listen.
        tls: the context of DICOM over TLS; None listens in the clear. It may be replaced, for the
            connections that follow.
        inherited: a socket that listens there already, and belongs to other processes too.

    Raises:
        PortInUseError: another process listens there.
        ConfigurationError: the address cannot be listened on.
    """

    def __init__(
        self,
        address: ListeningAddress,
        tls: ssl.SSLContext | None = None,
        inherited: socket.socket | None = None,
    ) -> None:
        self.is_shared = inherited is not None
        try:
            self.socket = inherited or _listen((address.host, address.port))
        except OSError as exc:
            kind = PortInUseError if exc.errno == errno.EADDRINUSE else ConfigurationError
            host, port = address.settings
            raise kind(
                f"The listener cannot use {host} {address.host} and {port} {address.port}: "
                f"{exc.strerror or exc}."
            ) from exc
        self.address: tuple[Any, ...] = self.socket.getsockname()
        self.tls = tls

    def close(self) -> None:
        """Listen no more; on a shared socket the others still do."""
        if not self.is_shared:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def listening_addresses(dicom: DicomSettings) -> list[ListeningAddress]:
    """Return where to listen: in the clear first, then over TLS."""
    found = []
    names = ("dicom.host", "dicom.port")
    if dicom.plain_address is not None:
        host, port = dicom.plain_address
        found.append(ListeningAddress(host=host, port=port, settings=names, is_tls=False))
        names = ("dicom.tls_host", "dicom.tls_port")
    if dicom.tls_address is not None:
        host, port = dicom.tls_address
        found.append(ListeningAddress(host=host, port=port, settings=names, is_tls=True))
    return found


def _listen(address: tuple[str, int]) -> socket.socket:
    listening = socket.socket(_family(address[0]))
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.settimeout(0)
    except OSError:
        listening.close()
        raise
    return listening


def _family(host: str) -> socket.AddressFamily:
    """Return the family to listen with: IPv4 where the host has both."""
    families = {found[0] for found in socket.getaddrinfo(host, 0)}
    return socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
