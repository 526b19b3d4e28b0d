"""Assemble messages, perform their requests and send the responses (PS3.7 9.1.1, 9.1.5, 10.1).

The requests are C-ECHO, C-STORE, and for storage commitment N-ACTION and N-EVENT-REPORT.

pynetdicom's own provider keeps a data set in memory, or lets a full disk end its thread and the
association with it; it also sends no response to a request without an identifier. So data sets are
received here, and any other message ends the association.
"""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from pydicom.uid import UID
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dsutils import encode

from service.dicom.statuses import SUCCESS
from service.dicom.storage_commitment import (
    STORAGE_COMMITMENT,
    WELL_KNOWN_INSTANCE,
    Result,
    event_information,
)
from service.receiving.acceptance import StoreCommand
from service.receiving.listener.c_store import CStoreHandler, PresentationContext, StoreOperation
from service.receiving.listener.command_set import (
    C_ECHO_RQ,
    C_STORE_RQ,
    FRAGMENT_OF_COMMAND,
    LAST_FRAGMENT,
    LONGEST_COMMAND,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    N_EVENT_REPORT_RSP,
    Request,
    Response,
    decode,
    encode_event_report,
    encode_response,
    fragments,
)
from service.receiving.listener.refusals import ProtocolError, Violation
from service.receiving.listener.storage_commitment import (
    CommitmentOperation,
    StorageCommitmentHandler,
)

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from service.receiving.listener.upper_layer import UpperLayer

COMMITMENT: Final = StoreCommand(
    sop_class_uid=STORAGE_COMMITMENT, sop_instance_uid=WELL_KNOWN_INSTANCE
)
_OF_COMMITMENT: Final = frozenset({N_ACTION_RQ, N_EVENT_REPORT_RQ})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHandlers:
    """The handlers of the requests."""

    store: CStoreHandler
    commitment: StorageCommitmentHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class _PendingRequest:
    """A request whose data set is being received."""

    context_id: int
    request: Request
    context: PresentationContext
    operation: StoreOperation | CommitmentOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class _PendingEventReport:
    """An N-EVENT-REPORT that was sent and awaits its response."""

    message_id: int
    result: Result


class DimseProvider(DIMSEServiceProvider):
    """The messages of one association; everything runs in the upper layer's thread."""

    def __init__(
        self, assoc: "Association", handlers: ServiceHandlers, stopping: threading.Event
    ) -> None:
        super().__init__(assoc)
        self._handlers = handlers
        self._stopping = stopping
        self._command = bytearray()
        self._request: _PendingRequest | None = None
        self._report: _PendingEventReport | None = None
        self._message_id = 0
        self._contexts: dict[int, PresentationContext] = {}  # that were in use so far

    @property
    def is_busy(self) -> bool:
        """Whether a message has begun and its response is not sent yet."""
        return self._request is not None or bool(self._command)

    @property
    def is_drained(self) -> bool:
        """Whether the listener drains and no message is in progress; none may begin any more."""
        return self._stopping.is_set() and not self.is_busy

    def receive_fragment(self, context_id: int, control: int, payload: memoryview) -> None:
        """Add a fragment, or a piece of one, to its message.

        Args:
            context_id: the presentation context.
            control: the message control header (PS3.8 E.2).
            payload: bytes of the command set or data set.

        Raises:
            ProtocolError: it is malformed or unexpected.
        """
        is_last = bool(control & LAST_FRAGMENT)
        if control & FRAGMENT_OF_COMMAND:
            self._receive_command(context_id, payload, is_last=is_last)
        else:
            self._receive_data(context_id, payload, is_last=is_last)

    def abandon(self) -> None:
        """Abandon a request whose data set stays incomplete: the association has ended."""
        if self._request is not None:
            self._request.operation.abandon()
            self._request = None

    def _receive_command(self, context_id: int, payload: memoryview, *, is_last: bool) -> None:
        self._command += payload
        if self._request is not None:
            raise ProtocolError(Violation.COMMAND_UNEXPECTED)
        if len(self._command) > LONGEST_COMMAND:
            raise ProtocolError(Violation.COMMAND)
        if is_last:
            encoded, self._command = bytes(self._command), bytearray()
            command = decode(encoded)
            if isinstance(command, Response):
                self._receive_response(command)
            else:
                self._perform(context_id, command)

    def _perform(self, context_id: int, request: Request) -> None:
        context = self._context(context_id)
        if request.field == C_ECHO_RQ and not request.has_data_set:
            self._send(context_id, encode_response(request, SUCCESS))
            return
        self._request = _PendingRequest(
            context_id=context_id,
            request=request,
            context=context,
            operation=self._operation(request, context),
        )
        if not request.has_data_set:
            self._finish(self._request)

    def _operation(
        self, request: Request, context: PresentationContext
    ) -> StoreOperation | CommitmentOperation:
        """Begin the operation requested, if its presentation context is for it."""
        is_of_commitment = context.abstract_syntax_uid == STORAGE_COMMITMENT
        if request.field == C_STORE_RQ and not is_of_commitment:
            return self._handlers.store.open(request.command, context)
        if request.field in _OF_COMMITMENT and is_of_commitment:
            return CommitmentOperation(self._handlers.commitment, request, context)
        raise ProtocolError(Violation.NOT_NEGOTIATED)

    def _receive_data(self, context_id: int, payload: memoryview, *, is_last: bool) -> None:
        pending = self._request
        if pending is None or context_id != pending.context_id:
            raise ProtocolError(Violation.DATA_UNEXPECTED)
        pending.operation.write(payload)
        if is_last:
            self._finish(pending)

    def _finish(self, pending: _PendingRequest) -> None:
        status = pending.operation.finish()
        self._send(pending.context_id, encode_response(pending.request, status))
        if (
            isinstance(pending.operation, CommitmentOperation)
            and pending.operation.result is not None
        ):
            self._send_result(pending, pending.operation.result)
        self._request = None

    def _send_result(self, pending: _PendingRequest, result: Result) -> None:
        """Send a result after the response to its request, and await the response to the latest."""
        self._message_id = self._message_id % 0xFFFF + 1
        self._report = _PendingEventReport(message_id=self._message_id, result=result)
        command = encode_event_report(COMMITMENT, result.event_type, self._message_id)
        syntax = UID(pending.context.transfer_syntax_uid)
        encoded = encode(event_information(result), syntax.is_implicit_VR, is_little_endian=True)
        self._send(pending.context_id, command)
        self._send(pending.context_id, encoded or b"", is_command=False)

    def _receive_response(self, response: Response) -> None:
        if response.field != N_EVENT_REPORT_RSP:
            raise ProtocolError(Violation.RESPONSE_UNEXPECTED)
        report, self._report = self._report, None
        if report is not None and report.message_id == response.message_id:
            self._handlers.commitment.record_response(report.result, response.status)

    def _send(self, context_id: int, encoded: bytes, *, is_command: bool = True) -> None:
        for fragment in fragments(encoded, self.maximum_pdu_size or 0, is_command=is_command):
            cast("UpperLayer", self.dul).send_fragment(context_id, fragment)

    def _context(self, context_id: int) -> PresentationContext:
        context = self._contexts.get(context_id)
        if context is None:
            context = self._contexts[context_id] = self._accepted_context(context_id)
        return context

    def _accepted_context(self, context_id: int) -> PresentationContext:
        for context in self.assoc.accepted_contexts:
            if context.context_id == context_id:
                return PresentationContext(
                    abstract_syntax_uid=str(context.abstract_syntax),
                    transfer_syntax_uid=str(context.transfer_syntax[0]),
                    calling_ae_title=self.assoc.requestor.ae_title.strip(),
                )
        raise ProtocolError(Violation.NOT_NEGOTIATED)
