"""Why the listener refuses associations: the reasons that are logged and counted."""

import threading
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import structlog

from service.dicom.association_pdus import MalformedError
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
    AE_TITLE_LIMIT = "ae-title-limit-exceeded"
    ADDRESS_LIMIT = "address-limit-exceeded"
    CONNECTION_LIMIT = "connection-limit-exceeded"
    NO_REQUEST = "no-request-in-time"
    TLS_NOT_SPOKEN = "tls-not-spoken"
    TLS_VERSION = "tls-version-not-supported"
    TLS_NO_CERTIFICATE = "tls-certificate-missing"
    TLS_CERTIFICATE = "tls-certificate-not-trusted"
    TLS_TIMEOUT = "tls-handshake-timeout"
    TLS_HANDSHAKE = "tls-handshake-failed"
    OTHER = "other"


class Aborted(StrEnum):
    """Why an association is aborted upon what its peer sent, or did not send or read in time."""

    MALFORMED = "malformed-association-pdu"
    UNDECODABLE = "undecodable-pdu"
    PROTOCOL = "protocol-error"
    SILENT = "silent-in-message"
    TOO_SLOW = "message-too-slow"
    MESSAGE_SECONDS = "message-time-exceeded"
    NOT_READING = "response-not-read"


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


class StalledError(Exception):
    """The peer keeps an association waiting for too long; it is aborted."""

    def __init__(self, reason: Aborted) -> None:
        super().__init__(reason)
        self.reason: Final = reason


class SparingLog:
    """Logs at most so many events of a kind in a period, and how many it left out before.

    A flood of connections must not fill the disk with the log.
    """

    def __init__(
        self,
        most: int = 100,
        seconds: float = 10,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._counting = threading.Lock()
        self._periods: dict[str, tuple[float, int]] = {}  # begin, events

    def left_out(self, kind: str) -> int | None:
        """Count an event; return how many were left out before it, or None if it is, too."""
        now = self._clock()
        with self._counting:
            began, events = self._periods.get(kind, (now, 0))
            left_out = 0
            if now >= began + self._seconds:
                began, events, left_out = now, 0, max(0, events - self._most)
            self._periods[kind] = (began, events + 1)
            return left_out if events < self._most else None


_sparing: Final = SparingLog()


def record_rejection(reason: Refused, host: str | None) -> None:
    """Log and count a rejected association, or a connection that was closed before one."""
    ASSOCIATION_REFUSALS.labels(reason=reason).inc()
    left_out = _sparing.left_out(reason)
    if left_out is not None:
        log.warning("association_rejected", reason=reason, host=host, left_out=left_out)


def record_abort(reason: Aborted, host: str | None, error: Exception) -> None:
    """Log and count an association that is aborted."""
    ASSOCIATION_REFUSALS.labels(reason=reason).inc()
    left_out = _sparing.left_out(reason)
    if left_out is None:
        return
    violation = error.violation if isinstance(error, ProtocolError) else None
    log.info(
        "association_aborted",
        reason=reason,
        violation=violation,
        host=host,
        exc_info=None if isinstance(error, StalledError) else error,
        left_out=left_out,
    )


def reason_of(error: Exception) -> Aborted:
    """Return the reason for the abort that an error of receiving causes."""
    if isinstance(error, StalledError):
        return error.reason
    if isinstance(error, MalformedError):
        return Aborted.MALFORMED
    return Aborted.PROTOCOL if isinstance(error, ProtocolError) else Aborted.UNDECODABLE
