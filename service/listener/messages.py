"""Fragments of DICOM messages in, C-ECHO and C-STORE performed, answers out (PS3.7 9.1.1, 9.1.5).

pynetdicom's own provider keeps a data set in memory, or lets a full disk end its thread and the
association with it; it also leaves a request without an identifier unanswered. So data sets are
taken here, and whatever else is sent ends the association.
"""

import struct
import threading
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Final

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.pdu_primitives import P_DATA

from service.acceptance import SUCCESS, StoreCommand, identifier, is_uid
from service.header import UndecodableError, read_header
from service.listener.transfer import Context, StoreDoor, Transfer

if TYPE_CHECKING:
    from pynetdicom.association import Association

LONGEST_COMMAND: Final = 1 << 14  # bytes; the elements of PS3.7 E.1 come to a few hundred
FRAGMENT_OF_COMMAND: Final = 0x01  # PS3.8 E.2
LAST_FRAGMENT: Final = 0x02

_C_STORE_RQ: Final = 0x0001  # PS3.7 table E.1-1
_C_STORE_RSP: Final = 0x8001
_C_ECHO_RQ: Final = 0x0030
_C_ECHO_RSP: Final = 0x8030
_NO_DATA_SET: Final = 0x0101

_COMMAND_GROUP_LENGTH: Final = 0x00000000
_AFFECTED_SOP_CLASS_UID: Final = 0x00000002
_COMMAND_FIELD: Final = 0x00000100
_MESSAGE_ID: Final = 0x00000110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x00000120
_COMMAND_DATA_SET_TYPE: Final = 0x00000800
_STATUS: Final = 0x00000900
_AFFECTED_SOP_INSTANCE_UID: Final = 0x00001000
_ELEMENTS: Final = frozenset(
    {
        _AFFECTED_SOP_CLASS_UID,
        _COMMAND_FIELD,
        _MESSAGE_ID,
        _COMMAND_DATA_SET_TYPE,
        _AFFECTED_SOP_INSTANCE_UID,
    }
)


_US: Final = struct.Struct("<H")
_PDV_BYTES: Final = 6  # around a fragment in a PDU, PS3.8 9.3.5.1


class ProtocolError(Exception):
    """The peer sent what no message may look like; the association is aborted."""


class StoppingError(Exception):
    """The listener drains, so no further message is begun; the association is aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Store:
    """A C-STORE under way."""

    context_id: int
    message_id: int
    command: StoreCommand
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

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take P-DATA as pynetdicom hands it over while an association is being released."""
        for context_id, value in primitive.presentation_data_value_list:
            self.fragment(context_id, value[0], value[1:])

    def fragment(self, context_id: int, control: int, payload: bytes | memoryview) -> None:
        """Take a fragment, or a piece of one, with its message control header (PS3.8 E.2).

        Raises:
            ProtocolError: it does not belong here.
            StoppingError: it would begin a message, and the listener drains.
        """
        if not self.is_busy and self._stopping.is_set():
            raise StoppingError
        is_last = bool(control & LAST_FRAGMENT)
        if not control & FRAGMENT_OF_COMMAND:
            self._take_data(context_id, payload, is_last=is_last)
            return
        self._command += payload
        if self._store is not None or len(self._command) > LONGEST_COMMAND:
            raise ProtocolError
        if is_last:
            command, self._command = bytes(self._command), bytearray()
            self._perform(context_id, _decode(command))

    def abandon(self) -> None:
        """Forget a C-STORE that will never be whole: the association has ended."""
        if self._store is not None:
            self._store.transfer.abandon()
            self._store = None

    def _perform(self, context_id: int, command: Dataset) -> None:
        field = _number(command, _COMMAND_FIELD)
        has_data_set = _number(command, _COMMAND_DATA_SET_TYPE) != _NO_DATA_SET
        if field == _C_ECHO_RQ and not has_data_set:
            self._answer(
                context_id,
                _C_ECHO_RSP,
                message_id=_number(command, _MESSAGE_ID),
                status=SUCCESS,
                sop_class_uid=self._context(context_id).abstract_syntax_uid,
            )
        elif field == _C_STORE_RQ:
            self._begin_store(context_id, command)
            if not has_data_set:
                self._end_store()
        else:
            raise ProtocolError

    def _begin_store(self, context_id: int, command: Dataset) -> None:
        stated = StoreCommand(
            sop_class_uid=identifier(command, _AFFECTED_SOP_CLASS_UID),
            sop_instance_uid=identifier(command, _AFFECTED_SOP_INSTANCE_UID),
        )
        self._store = _Store(
            context_id=context_id,
            message_id=_number(command, _MESSAGE_ID),
            command=stated,
            transfer=self._door.open(stated, self._context(context_id)),
        )

    def _take_data(self, context_id: int, payload: bytes | memoryview, *, is_last: bool) -> None:
        if self._store is None or context_id != self._store.context_id:
            raise ProtocolError
        self._store.transfer.write(payload)
        if is_last:
            self._end_store()

    def _end_store(self) -> None:
        """Answer the C-STORE under way (PS3.7 9.3.1.2)."""
        store = self._store
        if store is None:
            return
        status = store.transfer.finish()
        self._answer(
            store.context_id,
            _C_STORE_RSP,
            message_id=store.message_id,
            status=status,
            sop_class_uid=store.command.sop_class_uid,
            sop_instance_uid=store.command.sop_instance_uid,
        )
        self._store = None

    def _answer(
        self,
        context_id: int,
        field: int,
        *,
        message_id: int,
        status: int,
        sop_class_uid: str,
        sop_instance_uid: str = "",
    ) -> None:
        """Send an answer; UIDs that are none are not sent back."""
        elements = [
            (_AFFECTED_SOP_CLASS_UID, _uid_value(sop_class_uid)),
            (_COMMAND_FIELD, _US.pack(field)),
            (_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(message_id)),
            (_COMMAND_DATA_SET_TYPE, _US.pack(_NO_DATA_SET)),
            (_STATUS, _US.pack(status)),
            (_AFFECTED_SOP_INSTANCE_UID, _uid_value(sop_instance_uid)),
        ]
        command = b"".join(_element(tag, value) for tag, value in elements if value)
        command = _element(_COMMAND_GROUP_LENGTH, struct.pack("<L", len(command))) + command
        longest = (self.maximum_pdu_size or len(command) + _PDV_BYTES) - _PDV_BYTES
        while command:
            fragment, command = command[:longest], command[longest:]
            control = FRAGMENT_OF_COMMAND | (0 if command else LAST_FRAGMENT)
            pdata = P_DATA()
            pdata.presentation_data_value_list.append((context_id, bytes([control]) + fragment))
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


def _decode(command: bytes) -> Dataset:
    """Find what matters of a command set, which is in Implicit VR Little Endian (PS3.7 6.3.1)."""
    try:
        return read_header(
            BytesIO(command),
            ImplicitVRLittleEndian,
            size_bytes=len(command),
            tags=_ELEMENTS,
            most_bytes=LONGEST_COMMAND,
        )
    except UndecodableError as exc:
        raise ProtocolError from exc


def _element(tag: int, value: bytes) -> bytes:
    """Encode an element of a command set (PS3.7 6.3.1)."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def _uid_value(uid: str) -> bytes:
    """Give a UID's value, padded to an even length; nothing for what is no UID."""
    return uid.encode("ascii") + b"\0" * (len(uid) % 2) if is_uid(uid) else b""


def _number(command: Dataset, tag: int) -> int:
    element = command.get_item(tag)
    if element is None or not isinstance(element.value, bytes) or len(element.value) != _US.size:
        raise ProtocolError
    return int.from_bytes(element.value, "little")
