"""Decode the command sets of requests and encode those of responses (PS3.7 6.3.1, 9.3, 10.3)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.uid import ImplicitVRLittleEndian

from service.dicom.byte_sources import UndecodableError
from service.dicom.element_reader import LONGEST_VALUE, read_header
from service.dicom.uids import identifier, is_uid
from service.receiving.acceptance import StoreCommand
from service.receiving.listener.refusals import ProtocolError, Violation

LONGEST_COMMAND: Final = 1 << 14  # bytes; the elements of PS3.7 E.1 come to a few hundred
FRAGMENT_OF_COMMAND: Final = 0x01  # in a message control header, PS3.8 E.2
LAST_FRAGMENT: Final = 0x02

C_STORE_RQ: Final = 0x0001  # PS3.7 table E.1-1
C_ECHO_RQ: Final = 0x0030
N_EVENT_REPORT_RQ: Final = 0x0100
N_EVENT_REPORT_RSP: Final = 0x8100
N_ACTION_RQ: Final = 0x0130
_IS_RESPONSE: Final = 0x8000
_NO_DATA_SET: Final = 0x0101
_A_DATA_SET: Final = 0x0001  # any value but the one above

_COMMAND_GROUP_LENGTH: Final = 0x00000000
_AFFECTED_SOP_CLASS_UID: Final = 0x00000002
_REQUESTED_SOP_CLASS_UID: Final = 0x00000003
_COMMAND_FIELD: Final = 0x00000100
_MESSAGE_ID: Final = 0x00000110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x00000120
_COMMAND_DATA_SET_TYPE: Final = 0x00000800
_STATUS: Final = 0x00000900
_AFFECTED_SOP_INSTANCE_UID: Final = 0x00001000
_REQUESTED_SOP_INSTANCE_UID: Final = 0x00001001
_EVENT_TYPE_ID: Final = 0x00001002
_ACTION_TYPE_ID: Final = 0x00001008
_READ: Final = frozenset(
    {
        _AFFECTED_SOP_CLASS_UID,
        _REQUESTED_SOP_CLASS_UID,
        _COMMAND_FIELD,
        _MESSAGE_ID,
        _MESSAGE_ID_BEING_RESPONDED_TO,
        _COMMAND_DATA_SET_TYPE,
        _STATUS,
        _AFFECTED_SOP_INSTANCE_UID,
        _REQUESTED_SOP_INSTANCE_UID,
        _EVENT_TYPE_ID,
        _ACTION_TYPE_ID,
    }
)
_UIDS: Final = frozenset(
    {
        *(_AFFECTED_SOP_CLASS_UID, _REQUESTED_SOP_CLASS_UID),
        *(_AFFECTED_SOP_INSTANCE_UID, _REQUESTED_SOP_INSTANCE_UID),
    }
)
_TYPE_ID: Final = {N_EVENT_REPORT_RQ: _EVENT_TYPE_ID, N_ACTION_RQ: _ACTION_TYPE_ID}

_US: Final = struct.Struct("<H")
_ELEMENT_HEAD: Final = struct.Struct("<HHL")
Elements = dict[int, bytes]
"""The values of a command set by tag."""

_PDV_BYTES: Final = 6  # around a fragment in a PDU, PS3.8 9.3.5.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request of the peer."""

    field: int  # PS3.7 table E.1-1
    message_id: int
    has_data_set: bool
    command: StoreCommand  # blank where there is none, or it is not a UID
    type_id: int | None = None  # of an action or event


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The peer's response to our request."""

    field: int
    message_id: int  # of the request
    status: int


def decode(encoded: bytes) -> Request | Response:
    """Decode a command set.

    Raises:
        ProtocolError: it is not a command set.
    """
    elements = _plain_elements(encoded)
    if not elements:
        elements = _odd_elements(encoded)
    field = _number(elements, _COMMAND_FIELD)
    has_data_set = _number(elements, _COMMAND_DATA_SET_TYPE) != _NO_DATA_SET
    if field & _IS_RESPONSE:
        if has_data_set:  # no response to our requests has one
            raise ProtocolError(Violation.RESPONSE_UNEXPECTED)
        return Response(
            field=field,
            message_id=_number(elements, _MESSAGE_ID_BEING_RESPONDED_TO),
            status=_number(elements, _STATUS),
        )
    return Request(
        field=field,
        message_id=_number(elements, _MESSAGE_ID),
        has_data_set=has_data_set,
        command=_named(elements, field),
        type_id=_type_id(elements, field),
    )


def _plain_elements(encoded: bytes) -> Elements | None:
    """Find the elements of a command set as the standard has it; None where it is otherwise.

    It takes a tenth of the time of the walk through elements that may be of any kind.
    """
    found: Elements = {}
    at = 0
    while at < len(encoded):
        if len(encoded) - at < _ELEMENT_HEAD.size:
            return None
        group, number, length = _ELEMENT_HEAD.unpack_from(encoded, at)
        at += _ELEMENT_HEAD.size
        if group != 0 or length > len(encoded) - at:  # elements with a VR have a longer length
            return None
        found[number] = encoded[at : at + min(length, LONGEST_VALUE)]
        at += length
    return found


def _odd_elements(encoded: bytes) -> Elements:
    """Find the elements of a command set as some senders write it."""
    try:
        header = read_header(
            BytesIO(encoded),
            ImplicitVRLittleEndian,
            size_bytes=len(encoded),
            tags=_READ,
            most_bytes=LONGEST_COMMAND,
        )
    except UndecodableError as exc:
        raise ProtocolError(Violation.COMMAND) from exc
    values = {int(each.tag): each.value for each in header.elements()}
    found: Elements = {tag: each for tag, each in values.items() if isinstance(each, bytes)}
    for tag in _UIDS & found.keys():  # one with another VR is no UID
        found[tag] = identifier(header, tag).encode("ascii", "replace")
    return found


def _type_id(elements: Elements, field: int) -> int | None:
    """Return the type of an action or event; None where it has none."""
    tag = _TYPE_ID.get(field)
    return None if tag is None or tag not in elements else _number(elements, tag)


def _named(elements: Elements, field: int) -> StoreCommand:
    """Return the UIDs that a request names; N-ACTION has elements of its own for them.

    A space before one does not count: DCMTK takes it where the length is even.
    """
    if field == N_ACTION_RQ:
        tags = _REQUESTED_SOP_CLASS_UID, _REQUESTED_SOP_INSTANCE_UID
    else:
        tags = _AFFECTED_SOP_CLASS_UID, _AFFECTED_SOP_INSTANCE_UID
    return StoreCommand(
        sop_class_uid=_text(elements, tags[0]), sop_instance_uid=_text(elements, tags[1])
    )


def _text(elements: Elements, tag: int) -> str:
    return elements.get(tag, b"").decode("ascii", "replace").rstrip("\0 ").lstrip(" ")


def encode_response(request: Request, status: int) -> bytes:
    """Encode the response to a request; an invalid UID of the request is left out."""
    values = [
        (_AFFECTED_SOP_CLASS_UID, _uid(request.command.sop_class_uid)),
        (_COMMAND_FIELD, _US.pack(request.field | _IS_RESPONSE)),
        (_MESSAGE_ID_BEING_RESPONDED_TO, _US.pack(request.message_id)),
        (_COMMAND_DATA_SET_TYPE, _US.pack(_NO_DATA_SET)),
        (_STATUS, _US.pack(status)),
        (_AFFECTED_SOP_INSTANCE_UID, _uid(request.command.sop_instance_uid)),
    ]
    if request.type_id is not None:
        values.append((_TYPE_ID[request.field], _US.pack(request.type_id)))
    return _command_set(values)


def encode_event_report(named: StoreCommand, event_type: int, message_id: int) -> bytes:
    """Encode an N-EVENT-REPORT request that has a data set (PS3.7 table 10.3-1)."""
    return _command_set(
        [
            (_AFFECTED_SOP_CLASS_UID, _uid(named.sop_class_uid)),
            (_COMMAND_FIELD, _US.pack(N_EVENT_REPORT_RQ)),
            (_MESSAGE_ID, _US.pack(message_id)),
            (_COMMAND_DATA_SET_TYPE, _US.pack(_A_DATA_SET)),
            (_AFFECTED_SOP_INSTANCE_UID, _uid(named.sop_instance_uid)),
            (_EVENT_TYPE_ID, _US.pack(event_type)),
        ]
    )


def _command_set(values: list[tuple[int, bytes]]) -> bytes:
    encoded = b"".join(_element(tag, value) for tag, value in values if value)
    return _element(_COMMAND_GROUP_LENGTH, struct.pack("<L", len(encoded))) + encoded


def fragments(encoded: bytes, longest_pdu: int, *, is_command: bool = True) -> Iterator[bytes]:
    """Split a message to fit the peer's PDUs (0: of any length), each with its control header."""
    longest = max(2, (longest_pdu - _PDV_BYTES) & ~1) if longest_pdu else len(encoded)
    for start in range(0, len(encoded), longest):
        is_last = start + longest >= len(encoded)
        control = (FRAGMENT_OF_COMMAND if is_command else 0) | (LAST_FRAGMENT if is_last else 0)
        yield bytes([control]) + encoded[start : start + longest]


def _element(tag: int, value: bytes) -> bytes:
    """Encode an element in Implicit VR Little Endian, as in every command set (PS3.7 6.3.1)."""
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def _uid(text: str) -> bytes:
    """Encode a UID, padded to an even length; return no bytes for what is not a UID."""
    return text.encode("ascii") + b"\0" * (len(text) % 2) if is_uid(text) else b""


def _number(elements: Elements, tag: int) -> int:
    value = elements.get(tag, b"")
    if len(value) != _US.size:
        raise ProtocolError(Violation.COMMAND)
    return int(_US.unpack(value)[0])
