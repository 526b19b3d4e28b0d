"""A connection whose peer has not requested an association yet: it costs a socket and a buffer."""

import contextlib
import ipaddress
import socket
import ssl
import struct
from typing import Any, Final

from service.dicom.association_pdus import ASSOCIATE_RQ
from service.receiving.listener.refusals import ProtocolError, Violation

LONGEST_REQUEST: Final = 1 << 18  # bytes; 128 contexts with every syntax come to about the half

ABORT: Final = struct.pack(">BxLxxBB", 0x07, 4, 0, 0)
"""A-ABORT of the service user, as action AA-1 sends it (PS3.8 9.3.8, table 9-10)."""

_HEAD: Final = struct.Struct(">BxL")  # PS3.8 9.3.1
_ABORT_PDU: Final = 0x07
_DISCARDED_AT_ONCE: Final = 1 << 16
_NETWORK_BITS: Final = 64  # of an IPv6 address; the rest is chosen by the machine itself


class PendingConnection:
    """A connection that is being received from, never waiting, until its request is whole.

    Args:
        connection: the accepted socket; with a `tls` context it is wrapped, and its handshake is
            part of what is received.
        address: the peer's address, as the socket module writes it.
        until: when its time is over, on the monotonic clock.
        tls: the context of DICOM over TLS (PS3.15 B.12), or None.
    """

    def __init__(
        self,
        connection: socket.socket,
        address: tuple[Any, ...],
        until: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        connection.settimeout(0)
        self.connection: socket.socket = connection
        if tls is not None:
            self.connection = tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        self.address = address
        self.network = network_of(str(address[0]))
        self.until = until
        self.is_ending = False
        self.waits_to_write = False
        self.is_handshaking = tls is not None
        self._has_spoken = False
        self._received = bytearray()

    @property
    def host(self) -> str:
        """The peer's address, for the log."""
        return str(self.address[0])

    @property
    def has_begun_handshake(self) -> bool:
        """Whether the peer has sent something of a handshake that has not ended."""
        return self.is_handshaking and self._has_spoken

    @property
    def buffered_bytes(self) -> int:
        """How much of its request has arrived."""
        return len(self._received)

    def receive(self) -> bytes | None:
        """Receive what has arrived; return the A-ASSOCIATE-RQ once it is whole, None before.

        Raises:
            ssl.SSLError: the handshake failed.
            OSError: the peer closed the connection or aborted.
            ProtocolError: it sent something else.
        """
        self.waits_to_write = False
        try:
            if self.is_handshaking and isinstance(self.connection, ssl.SSLSocket):
                self._shake_hands(self.connection)
            while wanted := self._wanted():
                piece = self.connection.recv(wanted)
                if not piece:
                    raise ConnectionError
                self._received += piece
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except ssl.SSLWantWriteError:
            self.waits_to_write = True
            return None
        return bytes(self._received)

    def end(self, reply: bytes, until: float) -> None:
        """Send the last PDU; what the peer still sends is discarded, so that it can read the reply.

        Raises:
            OSError: the connection is lost.
        """
        self._received.clear()
        self.is_ending, self.until = True, until
        self.connection.send(reply)
        socket.socket.shutdown(self.connection, socket.SHUT_WR)  # ssl's would read in the clear

    def discard(self) -> bool:
        """Discard what has arrived after the last PDU; return whether the peer closed."""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError):
            return not self.connection.recv(_DISCARDED_AT_ONCE)
        return False

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError):
            self.connection.close()

    def _shake_hands(self, connection: ssl.SSLSocket) -> None:
        """Go on with the handshake; a peer that closes before it has sent anything ends none."""
        if not self._has_spoken:
            if not socket.socket.recv(connection, 1, socket.MSG_PEEK):
                raise ConnectionError
            self._has_spoken = True
        connection.do_handshake()
        self.is_handshaking = False

    def _wanted(self) -> int:
        """Return how many bytes are missing; never more than belong to the request."""
        if len(self._received) < _HEAD.size:
            return _HEAD.size - len(self._received)
        kind, length = _HEAD.unpack_from(self._received)
        if kind == _ABORT_PDU:
            raise ConnectionError
        if kind != ASSOCIATE_RQ or length > LONGEST_REQUEST:
            raise ProtocolError(Violation.PDU)
        return int(_HEAD.size + length - len(self._received))


def network_of(host: str) -> str:
    """Return what limits count as one address: an IPv4 address, or a network of IPv6.

    A machine with IPv6 has a network of 64 bits and takes any address in it.
    """
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
