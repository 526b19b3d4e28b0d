"""Handle storage commitment in the listener: requests of senders, results of destinations.

A request whose sender has a configured address is recorded in the ledger, and the deliver worker
sends the result over an association of its own. For any other the result is sent on the same
association, and nothing is recorded.
"""

from dataclasses import dataclass
from typing import Final

import structlog

from service.commitment.evaluation import evaluate
from service.commitment.results import receive_result
from service.crash_points import CrashPoint, passed
from service.dicom.statuses import (
    DUPLICATE_TRANSACTION,
    PROCESSING_FAILURE,
    RESOURCE_LIMITATION,
    SUCCESS,
)
from service.dicom.storage_commitment import (
    LONGEST_DATA_SET,
    InvalidError,
    Message,
    Request,
    Result,
    read_request,
)
from service.receiving.listener.c_store import PresentationContext
from service.receiving.listener.command_set import N_EVENT_REPORT_RQ
from service.receiving.listener.command_set import Request as Command
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.work.commitment_requests import InUseError, TooManyError
from service.storage.spool import Spool
from service.telemetry.metrics import COMMITMENT_REQUESTS, COMMITMENT_RESULTS, COMMITTED_INSTANCES

_STATUSES: Final[tuple[tuple[type[Exception], int], ...]] = (
    (InUseError, DUPLICATE_TRANSACTION),
    (TooManyError, RESOURCE_LIMITATION),
    (Exception, PROCESSING_FAILURE),
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The response to an N-ACTION, and the result where that follows on the same association."""

    status: int
    result: Result | None = None


class StorageCommitmentHandler:
    """Handles N-ACTION and N-EVENT-REPORT requests."""

    def __init__(self, settings: Settings, spool: Spool, ledger: Ledger) -> None:
        self._settings = settings
        self._spool = spool
        self._ledger = ledger

    def receive_request(self, message: Message, calling_ae_title: str) -> Reply:
        """Evaluate or record a sender's request; Success without a result means it is recorded."""
        try:
            request = read_request(message)
            reply = self._evaluate_or_record(request, calling_ae_title)
        except InvalidError as exc:
            reply = _rejected(exc.status)
        except Exception as exc:  # noqa: BLE001 -- the sender gets a response in any case
            status = next(status for kind, status in _STATUSES if isinstance(exc, kind))
            reply = _rejected(status, exc if status == PROCESSING_FAILURE else None)
        else:
            COMMITMENT_REQUESTS.labels(outcome="accepted").inc()
            log.info("commitment_requested", instances=len(request.instances))
        return reply

    def receive_result(self, message: Message) -> int:
        """Record a destination's result; return the status of the response."""
        try:
            return receive_result(self._ledger, self._settings.deliver, message)
        except Exception as exc:
            log.exception("commitment_result_not_kept", exc_info=exc)
            return PROCESSING_FAILURE

    def record_response(self, result: Result, status: int) -> None:
        """Record a sender's response to the result that was sent on its own association."""
        if status != SUCCESS:
            COMMITMENT_RESULTS.labels(outcome="refused").inc()
            log.warning("commitment_result_refused", status=f"0x{status:04X}")
            return
        COMMITMENT_RESULTS.labels(outcome="told").inc()
        COMMITTED_INSTANCES.labels(outcome="committed").inc(len(result.committed))
        COMMITTED_INSTANCES.labels(outcome="failed").inc(len(result.failed))

    def _evaluate_or_record(self, request: Request, calling_ae_title: str) -> Reply:
        if self._settings.commitment_peer(calling_ae_title) is None:
            evaluation = evaluate(
                self._ledger, self._spool, request.transaction_uid, request.instances
            )
            return Reply(status=SUCCESS, result=evaluation.result)
        self._ledger.commitment_requests.receive(
            calling_ae_title, request.transaction_uid, request.instances
        )
        passed(CrashPoint.REQUEST_RECORDED)
        return Reply(status=SUCCESS)


def _rejected(status: int, error: Exception | None = None) -> Reply:
    COMMITMENT_REQUESTS.labels(outcome="rejected").inc()
    log.warning("commitment_request_rejected", status=f"0x{status:04X}", exc_info=error)
    return Reply(status=status)


class CommitmentOperation:
    """One request or result: its data set is collected in memory, within bounds."""

    def __init__(
        self, handler: StorageCommitmentHandler, request: Command, context: PresentationContext
    ) -> None:
        self._handler = handler
        self._request = request
        self._context = context
        self._encoded = bytearray()
        self.result: Result | None = None  # to be sent on the same association

    def write(self, fragment: bytes | memoryview) -> None:
        """Add a fragment; a data set that is too long is read to its end and not kept."""
        if len(self._encoded) <= LONGEST_DATA_SET:
            self._encoded += fragment

    def finish(self) -> int:
        """Handle the whole message; return the status of the response."""
        message = Message(
            sop_class_uid=self._request.command.sop_class_uid,
            sop_instance_uid=self._request.command.sop_instance_uid,
            type_id=self._request.type_id,
            encoded=bytes(self._encoded),
            transfer_syntax_uid=self._context.transfer_syntax_uid,
        )
        if self._request.field == N_EVENT_REPORT_RQ:
            return self._handler.receive_result(message)
        reply = self._handler.receive_request(message, self._context.calling_ae_title)
        self.result = reply.result
        return reply.status

    def abandon(self) -> None:
        """Discard the bytes received so far: the association has ended."""
        self._encoded.clear()
