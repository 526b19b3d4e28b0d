"""Connections to receivers of messages, over TLS where that is set."""

import socket
import ssl

from service.dicom.secure_transport import TlsFileError, client_context, read_validity
from service.settings import TlsPeer
from service.telemetry.metrics import TLS_CERTIFICATE_NOT_AFTER
from workers.delivery.dimse_tls import FILES_UNUSABLE, fault_word
from workers.delivery.stored_output import (
    NO_CONNECTION,
    UNKNOWN_HOST,
    DestinationUnavailableError,
)


def open_socket(peer: TlsPeer, name: str, seconds: float, *, tls: bool) -> socket.socket:
    """Connect to a peer.

    Args:
        peer: the peer.
        name: what metrics call it.
        seconds: how long connecting may take, and the handshake again.
        tls: whether TLS begins at once.

    Raises:
        DestinationUnavailableError: it cannot be reached, or not over TLS.
    """
    context = tls_context(peer, name) if tls else None
    try:
        plain = socket.create_connection((peer.host, peer.port), timeout=seconds)
    except socket.gaierror as exc:
        raise DestinationUnavailableError(UNKNOWN_HOST) from exc
    except OSError as exc:
        raise DestinationUnavailableError(NO_CONNECTION) from exc
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is None:
        return plain
    try:
        return context.wrap_socket(plain, server_hostname=peer.tls_name or peer.host)
    except OSError as exc:
        plain.close()
        raise DestinationUnavailableError(fault_word(exc)) from exc


def tls_context(peer: TlsPeer, name: str) -> ssl.SSLContext:
    """Build the TLS context towards a peer; its files are read each time.

    Raises:
        DestinationUnavailableError: a file cannot be used.
    """
    own = peer.own_certificate
    try:
        context = client_context(
            ssl.SSLContext, own, peer.tls_ca_file, verify_name=peer.tls_verify_name
        )
        if own is not None:
            expiry = read_validity(own.certificate_file).not_after.timestamp()
            TLS_CERTIFICATE_NOT_AFTER.labels(role="sender", peer=name).set(expiry)
    except TlsFileError as exc:
        raise DestinationUnavailableError(FILES_UNUSABLE) from exc
    return context
