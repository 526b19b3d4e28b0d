"""Fragments of DICOM messages in, C-ECHO and C-STORE performed, answers out (PS3.7 9.1.1, 9.1.5).

pynetdicom's own provider keeps a data set in memory, or lets a full disk end its thread and the
association with it; it also leaves a request without an identifier unanswered. So data sets are
taken here, and whatever else is sent ends the association.
"""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from service.acceptance import SUCCESS
from service.listener.command import (
    C_ECHO_RQ,
    C_STORE_RQ,
    FRAGMENT_OF_COMMAND,
    LAST_FRAGMENT,
    LONGEST_COMMAND,
    ProtocolError,
    Request,
    decode_request,
    encode_answer,
    fragments,
)
from service.listener.transfer import Context, StoreDoor, Transfer

if TYPE_CHECKING:
    from pynetdicom.association import Association


class StoppingError(Exception):
    """The listener drains, so no further message is begun; the association is aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """A C-STORE under way."""

    context_id: int
    request: Request
    transfer: Transfer


class Messages(DIMSEServiceProvider):
    """The messages of one association; everything is done in the upper layer's thread."""

    def __init__(self, assoc: "Association", door: StoreDoor, stopping: threading.Event) -> None:
        super().__init__(assoc)
        self._door = door
        self._stopping = stopping
        self._command = bytearray()
        self._store: _Store | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a message has begun and is not answered yet."""
        return self._store is not None or bool(self._command)

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
        """Forget a C-STORE that will never be whole: the association has ended."""
        if self._store is not None:
            self._store.transfer.abandon()
            self._store = None

    def _take_command(self, context_id: int, payload: memoryview, *, is_last: bool) -> None:
        self._command += payload
        if self._store is not None or len(self._command) > LONGEST_COMMAND:
            raise ProtocolError
        if is_last:
            encoded, self._command = bytes(self._command), bytearray()
            self._perform(context_id, decode_request(encoded))

    def _perform(self, context_id: int, request: Request) -> None:
        context = self._context(context_id)
        if request.field == C_ECHO_RQ and not request.has_data_set:
            self._answer(context_id, request, SUCCESS)
        elif request.field == C_STORE_RQ:
            transfer = self._door.open(request.command, context)
            self._store = _Store(context_id=context_id, request=request, transfer=transfer)
            if not request.has_data_set:
                self._end(self._store)
        else:
            raise ProtocolError

    def _take_data(self, context_id: int, payload: memoryview, *, is_last: bool) -> None:
        store = self._store
        if store is None or context_id != store.context_id:
            raise ProtocolError
        store.transfer.write(payload)
        if is_last:
            self._end(store)

    def _end(self, store: _Store) -> None:
        self._answer(store.context_id, store.request, store.transfer.finish())
        self._store = None

    def _answer(self, context_id: int, request: Request, status: int) -> None:
        answer = encode_answer(request, status)
        for fragment in fragments(answer, self.maximum_pdu_size or 0):
            pdata = P_DATA()
            pdata.presentation_data_value_list.append((context_id, fragment))
            self.dul.send_pdu(pdata)

    def _context(self, context_id: int) -> Context:
        for context in self.assoc.accepted_contexts:
            if context.context_id == context_id:
                return Context(
                    abstract_syntax_uid=str(context.abstract_syntax),
                    transfer_syntax_uid=str(context.transfer_syntax[0]),
                    calling_ae_title=self.assoc.requestor.ae_title.strip(),
                )
        raise ProtocolError
