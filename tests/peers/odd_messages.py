"""C-STORE messages as odd senders send them, each a function of an open association."""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from support.listener import CR

from peers.raw_scu import P_DATA, RELEASE_RQ, Closed, Sender, p_data, pdu

GROUP_LENGTH, SOP_CLASS, FIELD, MESSAGE_ID = 0x0000, 0x0002, 0x0100, 0x0110
PRIORITY, DATA_SET_TYPE, STATUS, SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x1000
ORIGINATOR, ORIGINATOR_ID = 0x1030, 0x1031
CLOSED: Final = "closed"
Answer = int | str
"""The status of a C-STORE response, or that the peer ended the association."""


@dataclass(frozen=True)
class Instance:
    """What is sent: the data set in Explicit VR Little Endian, and its SOP Instance UID."""

    uid: str
    data_set: bytes


Message = Callable[[Sender, Instance], Answer]


def us(number: int) -> bytes:
    """Encode an unsigned short."""
    return struct.pack("<H", number)


def elements(instance: Instance) -> dict[int, bytes]:
    """Return the elements of a usual C-STORE request, but for the group length."""
    uid = instance.uid.encode()
    return {
        SOP_CLASS: CR.encode() + b"\0" * (len(CR) % 2),
        FIELD: us(0x0001),
        MESSAGE_ID: us(1),
        PRIORITY: us(0),
        DATA_SET_TYPE: us(0x0001),
        SOP_INSTANCE: uid + b"\0" * (len(uid) % 2),
    }


def encode(values: Iterable[tuple[int, bytes]], group_length: bytes | None = b"") -> bytes:
    """Encode a command set in the order given; None leaves the group length out."""
    encoded = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in values)
    if group_length is None:
        return encoded
    value = group_length or struct.pack("<L", len(encoded))
    return struct.pack("<HHL", 0, 0, len(value)) + value + encoded


def usual(instance: Instance) -> bytes:
    """Encode a usual command."""
    return encode(sorted(elements(instance).items()))


def answer(sender: Sender) -> Answer:
    """Read the peer's response."""
    try:
        kind, body = sender.read_pdu()
    except Closed:
        return CLOSED
    if kind != P_DATA:
        return f"PDU {kind}"
    at = body.index(struct.pack("<HHL", 0, STATUS, 2)) + 8
    return int(struct.unpack_from("<H", body, at)[0])


def send(sender: Sender, instance: Instance, command: bytes) -> Answer:
    """Send a command and the data set, and read the response."""
    sender.send_fragments(1, command, is_command=True)
    sender.send_fragments(1, instance.data_set, is_command=False)
    return answer(sender)


def with_values(**changes: bytes | None) -> Message:
    """Make a message with other values of elements, by the names above; None leaves one out."""

    def say(sender: Sender, instance: Instance) -> Answer:
        values = elements(instance)
        for name, value in changes.items():
            values.pop(globals()[name], None)
            if value is not None:
                values[globals()[name]] = value
        return send(sender, instance, encode(sorted(values.items())))

    return say


def with_uid(form: str) -> Message:
    """Make a message whose Affected SOP Instance UID is padded as in this format."""
    return lambda sender, instance: send(
        sender,
        instance,
        encode(
            sorted(
                (elements(instance) | {SOP_INSTANCE: form.format(instance.uid).encode()}).items()
            )
        ),
    )


def with_more(more: dict[int, bytes]) -> Message:
    """Make a message with further elements in its command."""
    return lambda sender, instance: send(
        sender, instance, encode(sorted((elements(instance) | more).items()))
    )


def with_group_length(value: Callable[[int], bytes | None]) -> Message:
    """Make a message with another group length than the right one."""

    def say(sender: Sender, instance: Instance) -> Answer:
        length = len(usual(instance)) - 12
        return send(sender, instance, encode(sorted(elements(instance).items()), value(length)))

    return say


def backwards(sender: Sender, instance: Instance) -> Answer:
    """Send the elements of the command in reverse order."""
    return send(sender, instance, encode(sorted(elements(instance).items(), reverse=True)))


def in_pdus(
    cut: Callable[[bytes, bytes], Iterable[list[tuple[int, bool, bool, bytes]]]],
) -> Message:
    """Make a message of these P-DATA-TF PDUs, each a list of fragments."""

    def say(sender: Sender, instance: Instance) -> Answer:
        for fragments in cut(usual(instance), instance.data_set):
            sender.say(p_data(fragments))
        return answer(sender)

    return say


def byte_by_byte(command: bytes, data: bytes) -> Iterable[list[tuple[int, bool, bool, bytes]]]:
    """Cut a message into fragments of one byte."""
    for is_command, part in ((True, command), (False, data)):
        for at in range(len(part)):
            yield [(1, is_command, at + 1 == len(part), part[at : at + 1])]


def with_reserved_bits(sender: Sender, instance: Instance) -> Answer:
    """Set the bits of the message control headers that are reserved (PS3.8 E.2)."""
    for control, part in ((0xFF, usual(instance)), (0xFE, instance.data_set)):
        sender.say(pdu(P_DATA, struct.pack(">LBB", len(part) + 2, 1, control) + part))
    return answer(sender)


def with_an_empty_pdu(sender: Sender, instance: Instance) -> Answer:
    """Send P-DATA-TF PDUs without a fragment in between."""
    for is_command, part in ((True, usual(instance)), (False, instance.data_set)):
        sender.say(pdu(P_DATA, b""))
        sender.send_fragments(1, part, is_command=is_command)
    return answer(sender)


def release_at_once(sender: Sender, instance: Instance) -> Answer:
    """Request the release right behind the message, before its response."""
    sender.send_fragments(1, usual(instance), is_command=True)
    sender.send_fragments(1, instance.data_set, is_command=False)
    sender.say(pdu(RELEASE_RQ, bytes(4)))
    return answer(sender)


COMMANDS: Final[dict[str, Message]] = {
    "message id 0": with_values(MESSAGE_ID=us(0)),
    "message id 65535": with_values(MESSAGE_ID=us(0xFFFF)),
    "no message id": with_values(MESSAGE_ID=None),
    "no priority": with_values(PRIORITY=None),
    "odd priority": with_values(PRIORITY=us(7)),
    "empty priority": with_values(PRIORITY=b""),
    "uid and space": with_uid("{} "),
    "uid and two NUL": with_uid("{}\0\0"),
    "uid and four spaces": with_uid("{}    "),
    "space and uid": with_uid(" {}"),
    "no instance uid": with_values(SOP_INSTANCE=None),
    "empty instance uid": with_values(SOP_INSTANCE=b""),
    "class uid and space": with_values(SOP_CLASS=CR.encode() + b" "),
    "no class uid": with_values(SOP_CLASS=None),
    "data set type 0": with_values(DATA_SET_TYPE=us(0)),
    "data set type 2": with_values(DATA_SET_TYPE=us(2)),
    "data set type 0x0102": with_values(DATA_SET_TYPE=us(0x0102)),
    "data set type 0xFEFE": with_values(DATA_SET_TYPE=us(0xFEFE)),
    "no data set type": with_values(DATA_SET_TYPE=None),
    "move originator": with_more({ORIGINATOR: b"ARCHIVE ", ORIGINATOR_ID: us(9)}),
    "blank move originator": with_more({ORIGINATOR: b"", ORIGINATOR_ID: us(0)}),
    "odd move originator": with_more({ORIGINATOR: b"\xff\\A" * 12}),
    "retired elements": with_more({0x0001: bytes(4), 0x0010: b"ACR-NEMA 2.0"}),
    "unknown elements": with_more({0x0902: b"comment ", 0x5110: bytes(6), 0xFFF0: b"x "}),
    "a long unknown element": with_more({0xFFF0: bytes(3000)}),
    "no group length": with_group_length(lambda _: None),
    "group length 0": with_group_length(lambda _: bytes(4)),
    "group length too small": with_group_length(lambda length: struct.pack("<L", length - 10)),
    "group length too large": with_group_length(lambda length: struct.pack("<L", length + 10)),
    "group length of two bytes": with_group_length(us),
    "elements backwards": backwards,
}
FRAGMENTS: Final[dict[str, Message]] = {
    "command in two": in_pdus(
        lambda c, d: [[(1, True, False, c[:20]), (1, True, True, c[20:])], [(1, False, True, d)]]
    ),
    "command in two PDUs": in_pdus(
        lambda c, d: [[(1, True, False, c[:21])], [(1, True, True, c[21:])], [(1, False, True, d)]]
    ),
    "one byte each": in_pdus(byte_by_byte),
    "all in one PDU": in_pdus(lambda c, d: [[(1, True, True, c), (1, False, True, d)]]),
    "an empty last fragment of the command": in_pdus(
        lambda c, d: [[(1, True, False, c)], [(1, True, True, b"")], [(1, False, True, d)]]
    ),
    "an empty last fragment of the data set": in_pdus(
        lambda c, d: [[(1, True, True, c)], [(1, False, False, d)], [(1, False, True, b"")]]
    ),
    "empty fragments first": in_pdus(
        lambda c, d: [
            [(1, True, False, b""), (1, True, True, c)],
            [(1, False, False, b""), (1, False, True, d)],
        ]
    ),
    "data before the command ended": in_pdus(
        lambda c, d: [[(1, True, False, c[:20])], [(1, False, True, d)], [(1, True, True, c[20:])]]
    ),
    "a command without its end, then data": in_pdus(
        lambda c, d: [[(1, True, False, c)], [(1, False, True, d)]]
    ),
    "data that says it is a command": in_pdus(
        lambda c, d: [[(1, True, True, c)], [(1, True, True, d)]]
    ),
    "data behind the last fragment": in_pdus(
        lambda c, d: [[(1, True, True, c)], [(1, False, True, d), (1, False, True, b"more")]]
    ),
    "another context for the data": in_pdus(
        lambda c, d: [[(1, True, True, c)], [(3, False, True, d)]]
    ),
    "reserved bits": with_reserved_bits,
    "PDUs without a fragment": with_an_empty_pdu,
    "a release behind the data set": release_at_once,
}
