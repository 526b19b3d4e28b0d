"""TLS towards a peer of associations, and the word for how it failed."""

import ssl
from typing import Any, Final, cast

from service.dicom.secure_transport import TlsFileError, client_context, read_validity
from service.settings import DicomPeer
from service.telemetry.metrics import TLS_CERTIFICATE_NOT_AFTER
from workers.delivery.stored_output import NoResponseError

FILES_UNUSABLE: Final = "tls-files-unusable"
NOT_SPOKEN: Final = "tls-not-spoken"
VERSION: Final = "tls-version-not-supported"
NOT_TRUSTED: Final = "tls-certificate-not-trusted"
EXPIRED: Final = "tls-certificate-expired"
OTHER_NAME: Final = "tls-certificate-of-another-name"
OURS_REFUSED: Final = "tls-our-certificate-refused"
HANDSHAKE_FAILED: Final = "tls-handshake-failed"

_VERIFY_FAULTS: Final = {10: EXPIRED, 62: OTHER_NAME, 64: OTHER_NAME}  # X509_verify_cert(3ssl)
_NOT_SPOKEN: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG"})
_VERSIONS: Final = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "NO_PROTOCOLS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",  # no cipher suite in common (RFC 8446 6.2)
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    }
)
_OURS: Final = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_UNKNOWN_CA",
        "TLSV1_ALERT_ACCESS_DENIED",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
    }
)


class RecordingSocket(ssl.SSLSocket):
    """A connection over TLS that notes in its context how it failed: pynetdicom does not say."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001,FBT002 -- ssl's own
        """Perform the handshake."""
        try:
            super().do_handshake(block)
        except OSError as exc:
            self._note(exc)
            raise

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002,ANN401 -- ssl's own
        """Read; with TLS 1.3 this is where a peer refuses our certificate."""
        try:
            return super().read(len, buffer)
        except ssl.SSLError as exc:
            self._note(exc)
            raise

    def _note(self, error: OSError) -> None:
        cast("RecordingContext", self.context).fault = fault_word(error)


class RecordingContext(ssl.SSLContext):
    """The TLS context of one connection, with the word for what made it fail."""

    sslsocket_class = RecordingSocket
    fault: str | None = None  # not the error, whose traceback would keep the connection open


def tls_arguments(peer: DicomPeer) -> tuple[RecordingContext, str] | None:
    """Return the TLS context and the name to verify, for a connection to a peer; None without TLS.

    The files are read each time, so that renewing them needs no restart.

    Raises:
        NoResponseError: a file cannot be used.
    """
    if not peer.tls:
        return None
    own = peer.own_certificate
    try:
        context = client_context(
            RecordingContext, own, peer.tls_ca_file, verify_name=peer.tls_verify_name
        )
        if own is not None:
            expiry = read_validity(own.certificate_file).not_after.timestamp()
            TLS_CERTIFICATE_NOT_AFTER.labels(role="sender", peer=peer.ae_title).set(expiry)
    except TlsFileError as exc:
        raise NoResponseError(FILES_UNUSABLE) from exc
    return context, peer.tls_name or peer.host


def fault_word(error: OSError) -> str:
    """Return the word for why a TLS connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY_FAULTS.get(error.verify_code, NOT_TRUSTED)
    reason = getattr(error, "reason", None) or ""
    if reason in _NOT_SPOKEN:
        return NOT_SPOKEN
    if reason in _VERSIONS:
        return VERSION
    return OURS_REFUSED if reason in _OURS else HANDSHAKE_FAILED
