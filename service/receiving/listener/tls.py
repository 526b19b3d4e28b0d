"""TLS of the listener: its certificate, renewed without a stop, and why a handshake failed."""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from service.dicom.secure_transport import (
    OwnCertificate,
    TlsFileError,
    Validity,
    read_validity,
    server_context,
)
from service.receiving.listener.refusals import Refused
from service.settings import ConfigurationError, DicomSettings
from service.telemetry.metrics import TLS_CERTIFICATE_NOT_AFTER

RELOAD_SECONDS: Final = 2.0
"""How often the files are looked at."""

_VERIFY: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_NOT_SPOKEN: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL"}
)
_TOO_OLD: Final = frozenset({"UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_SHARED_CIPHER"})

Signature = tuple[tuple[int, int, int] | None, ...]

log = structlog.get_logger()


class ListenerTls:
    """The TLS context for new connections, made anew when a file of it changes.

    An association that is open keeps what it was made with. What cannot be used is not taken: the
    context before stays.
    """

    def __init__(self, own: OwnCertificate, dicom: DicomSettings) -> None:
        self._own = own
        self._authorities_file = dicom.tls_ca_file
        self._verify_mode = _VERIFY[dicom.client_certificate]
        self._seen = self._signature()
        try:
            self.context, validity = self._load()
        except TlsFileError as exc:
            raise ConfigurationError(f"The listener cannot use TLS: {exc}.") from exc
        fault = validity.fault(datetime.now(UTC))
        if fault is not None:  # plain senders, and those that do not look, are served nonetheless
            log.error("tls_certificate_not_valid", role="listener", message=fault)
        self._record(validity)

    def refresh(self) -> bool:
        """Load the files again if one has changed; return whether the context is a new one."""
        signature = self._signature()
        if signature == self._seen:
            return False
        self._seen = signature
        try:
            context, validity = self._load()
        except TlsFileError as exc:
            return self._keep(str(exc))
        fault = validity.fault(datetime.now(UTC))
        if fault is not None:
            return self._keep(f"the certificate in {self._own.certificate_file} {fault}")
        self.context = context
        self._record(validity)
        not_after = validity.not_after.strftime("%Y-%m-%dT%H:%M:%SZ")
        log.info("tls_certificate_reloaded", role="listener", not_after=not_after)
        return True

    def _keep(self, fault: str) -> bool:
        log.error("tls_certificate_kept", role="listener", message=fault)
        return False

    def _load(self) -> tuple[ssl.SSLContext, Validity]:
        context = server_context(self._own, self._authorities_file, self._verify_mode)
        return context, read_validity(self._own.certificate_file)

    def _record(self, validity: Validity) -> None:
        gauge = TLS_CERTIFICATE_NOT_AFTER.labels(role="listener", peer="")
        gauge.set(validity.not_after.timestamp())

    def _signature(self) -> Signature:
        files = (self._own.certificate_file, self._own.file_with_key, self._authorities_file)
        return tuple(_changed_at(file) for file in files if file is not None)


def open_tls(dicom: DicomSettings) -> ListenerTls | None:
    """Return the listener's TLS; None if it has no certificate.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    own = dicom.own_certificate
    return None if own is None else ListenerTls(own, dicom)


def handshake_refusal(error: OSError) -> Refused:
    """Return the reason for a handshake that failed like this."""
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused.TLS_CERTIFICATE
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return Refused.TLS_NO_CERTIFICATE
    if reason in _NOT_SPOKEN:
        return Refused.TLS_NOT_SPOKEN
    return Refused.TLS_VERSION if reason in _TOO_OLD else Refused.TLS_HANDSHAKE


def _changed_at(file: Path) -> tuple[int, int, int] | None:
    """Return what differs once a file is written or replaced; None if there is none.

    The target of a link counts, by which Kubernetes and certbot exchange all files at once.
    """
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
