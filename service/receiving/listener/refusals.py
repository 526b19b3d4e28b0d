"""Why the listener refuses associations: the reasons that are logged and counted."""

from enum import StrEnum
from typing import Final

import structlog

from service.telemetry.metrics import ASSOCIATION_REFUSALS

log = structlog.get_logger()


class Refused(StrEnum):
    """Why a request for an association is rejected, or a connection closed before one."""

    CALLING_AE_TITLE = "calling-ae-title-not-recognised"
    SENDER_ADDRESS = "sender-address-not-recognised"
    SENDER_CERTIFICATE = "sender-certificate-not-recognised"
    CALLED_AE_TITLE = "called-ae-title-not-recognised"
    CALLING_AE_TITLE_BLANK = "calling-ae-title-blank"
    CALLED_AE_TITLE_BLANK = "called-ae-title-blank"
    PROTOCOL_VERSION = "protocol-version-not-supported"
    LIMIT = "local-limit-exceeded"
    CONNECTION_LIMIT = "connection-limit-exceeded"
    TLS_NOT_SPOKEN = "tls-not-spoken"
    TLS_VERSION = "tls-version-not-supported"
    TLS_NO_CERTIFICATE = "tls-certificate-missing"
    TLS_CERTIFICATE = "tls-certificate-not-trusted"
    TLS_TIMEOUT = "tls-handshake-timeout"
    TLS_HANDSHAKE = "tls-handshake-failed"
    OTHER = "other"


class Aborted(StrEnum):
    """Why an association is aborted upon what its peer sent."""

    MALFORMED = "malformed-association-pdu"
    UNDECODABLE = "undecodable-pdu"
    PROTOCOL = "protocol-error"


class Violation(StrEnum):
    """The violation of the protocol behind `Aborted.PROTOCOL`."""

    PDU = "invalid-pdu"
    FRAGMENT = "invalid-fragment"
    COMMAND = "invalid-command"
    COMMAND_UNEXPECTED = "unexpected-command"
    DATA_UNEXPECTED = "unexpected-data-set"
    NOT_NEGOTIATED = "not-negotiated"
    RESPONSE_UNEXPECTED = "unexpected-response"


class ProtocolError(Exception):
    """The peer sent a malformed or unexpected message; the association is aborted."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation)
        self.violation: Final = violation


def record_rejection(reason: Refused, host: str | None) -> None:
    """Log and count a rejected association, or a connection that was closed at once."""
    ASSOCIATION_REFUSALS.labels(reason=reason).inc()
    log.warning("association_rejected", reason=reason, host=host)


def record_abort(reason: Aborted, host: str | None, error: Exception) -> None:
    """Log and count an association that is aborted upon what its peer sent."""
    ASSOCIATION_REFUSALS.labels(reason=reason).inc()
    violation = error.violation if isinstance(error, ProtocolError) else None
    log.info("association_aborted", reason=reason, violation=violation, host=host, exc_info=error)
