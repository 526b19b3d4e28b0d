"""Fragments of DICOM messages in, requests performed, answers out (PS3.7 9.1.1, 9.1.5, 10.1).

Performed are C-ECHO, C-STORE, and for storage commitment N-ACTION and N-EVENT-REPORT.

pynetdicom's own provider keeps a data set in memory, or lets a full disk end its thread and the
association with it; it also leaves a request without an identifier unanswered. So data sets are
taken here, and whatever else is sent ends the association.
"""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydicom.uid import UID
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import P_DATA

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
    ProtocolError,
    Request,
    Response,
    decode,
    encode_answer,
    encode_event_report,
    fragments,
)
from service.receiving.listener.storage_commitment import (
    CommitmentOperation,
    StorageCommitmentHandler,
)

if TYPE_CHECKING:
    from pynetdicom.association import Association


class StoppingError(Exception):
    """The listener drains, so no further message is begun; the association is aborted."""


COMMITMENT: Final = StoreCommand(
    sop_class_uid=STORAGE_COMMITMENT, sop_instance_uid=WELL_KNOWN_INSTANCE
)
_OF_COMMITMENT: Final = frozenset({N_ACTION_RQ, N_EVENT_REPORT_RQ})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHandlers:
    """Where what is asked for goes in."""

    store: CStoreHandler
    commitment: StorageCommitmentHandler


@dataclass(frozen=True, slots=True, kw_only=True)
class _PendingRequest:
    """A request whose data set comes in."""

    context_id: int
    request: Request
    context: PresentationContext
    operation: StoreOperation | CommitmentOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class _PendingEventReport:
    """An N-EVENT-REPORT of ours that waits for its answer."""

    message_id: int
    result: Result


class DimseProvider(DIMSEServiceProvider):
    """The messages of one association; everything is done in the upper layer's thread."""

    def __init__(
        self, assoc: "Association", doors: ServiceHandlers, stopping: threading.Event
    ) -> None:
        super().__init__(assoc)
        self._doors = doors
        self._stopping = stopping
        self._command = bytearray()
        self._under_way: _PendingRequest | None = None
        self._told: _PendingEventReport | None = None
        self._message_id = 0

    @property
    def is_busy(self) -> bool:
        """Whether a message has begun and is not answered yet."""
        return self._under_way is not None or bool(self._command)

    def fragment(self, context_id: int, control: int, payload: memoryview) -> None:
        """Take a fragment, or a piece of one, with its message control header (PS3.8 E.2).

        Raises:
            ProtocolError: it does not belong here.
            StoppingError: it would begin a message, and the listener drains.
        """
        if not self.is_busy and self._stopping.is_set():
            raise StoppingError
        is_last = bool(control & LAST_FRAGMENT)
        if control & FRAGMENT_OF_COMMAND:
            self._take_command(context_id, payload, is_last=is_last)
        else:
            self._take_data(context_id, payload, is_last=is_last)

    def abandon(self) -> None:
        """Forget a request that will never be whole: the association has ended."""
        if self._under_way is not None:
            self._under_way.operation.abandon()
            self._under_way = None

    def _take_command(self, context_id: int, payload: memoryview, *, is_last: bool) -> None:
        self._command += payload
        if self._under_way is not None or len(self._command) > LONGEST_COMMAND:
            raise ProtocolError
        if is_last:
            encoded, self._command = bytes(self._command), bytearray()
            command = decode(encoded)
            if isinstance(command, Response):
                self._hear(command)
            else:
                self._perform(context_id, command)

    def _perform(self, context_id: int, request: Request) -> None:
        context = self._context(context_id)
        if request.field == C_ECHO_RQ and not request.has_data_set:
            self._say(context_id, encode_answer(request, SUCCESS))
            return
        self._under_way = _PendingRequest(
            context_id=context_id,
            request=request,
            context=context,
            operation=self._operation(request, context),
        )
        if not request.has_data_set:
            self._end(self._under_way)

    def _operation(
        self, request: Request, context: PresentationContext
    ) -> StoreOperation | CommitmentOperation:
        """Begin what is asked for, if it is what its presentation context is for."""
        is_of_commitment = context.abstract_syntax_uid == STORAGE_COMMITMENT
        if request.field == C_STORE_RQ and not is_of_commitment:
            return self._doors.store.open(request.command, context)
        if request.field in _OF_COMMITMENT and is_of_commitment:
            return CommitmentOperation(self._doors.commitment, request, context)
        raise ProtocolError

    def _take_data(self, context_id: int, payload: memoryview, *, is_last: bool) -> None:
        under_way = self._under_way
        if under_way is None or context_id != under_way.context_id:
            raise ProtocolError
        under_way.operation.write(payload)
        if is_last:
            self._end(under_way)

    def _end(self, under_way: _PendingRequest) -> None:
        status = under_way.operation.finish()
        self._say(under_way.context_id, encode_answer(under_way.request, status))
        if (
            isinstance(under_way.operation, CommitmentOperation)
            and under_way.operation.result is not None
        ):
            self._tell(under_way, under_way.operation.result)
        self._under_way = None

    def _tell(self, under_way: _PendingRequest, result: Result) -> None:
        """Send a result after the answer to its request; the last one's answer is awaited."""
        self._message_id = self._message_id % 0xFFFF + 1
        self._told = _PendingEventReport(message_id=self._message_id, result=result)
        command = encode_event_report(COMMITMENT, result.event_type, self._message_id)
        syntax = UID(under_way.context.transfer_syntax_uid)
        encoded = encode(event_information(result), syntax.is_implicit_VR, is_little_endian=True)
        self._say(under_way.context_id, command)
        self._say(under_way.context_id, encoded or b"", is_command=False)

    def _hear(self, response: Response) -> None:
        if response.field != N_EVENT_REPORT_RSP:
            raise ProtocolError
        told, self._told = self._told, None
        if told is not None and told.message_id == response.message_id:
            self._doors.commitment.told(told.result, response.status)

    def _say(self, context_id: int, encoded: bytes, *, is_command: bool = True) -> None:
        for fragment in fragments(encoded, self.maximum_pdu_size or 0, is_command=is_command):
            pdata = P_DATA()
            pdata.presentation_data_value_list.append((context_id, fragment))
            self.dul.send_pdu(pdata)

    def _context(self, context_id: int) -> PresentationContext:
        for context in self.assoc.accepted_contexts:
            if context.context_id == context_id:
                return PresentationContext(
                    abstract_syntax_uid=str(context.abstract_syntax),
                    transfer_syntax_uid=str(context.transfer_syntax[0]),
                    calling_ae_title=self.assoc.requestor.ae_title.strip(),
                )
        raise ProtocolError
