"""Rewrite a received A-ASSOCIATE-RQ or -AC PDU (PS3.8 9.3.2, 9.3.3) in its strict form.

Peers end AE titles and UIDs with NUL, send version names that are too long or not ASCII, and items
that a receiver is to ignore (PS3.8 9.3.1). DCMTK accepts those; pynetdicom raises while decoding.
What is negotiated here is kept; the rest is left out, as an acceptor that does not support it does.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
SHORTEST_PDU: Final = 14  # bytes: DCMTK, too, sends nothing to a peer that takes fewer
LONGEST_PDU: Final = 128 * 1024  # bytes; also to a peer that sets no limit (0)

_FIXED: Final = struct.Struct(">BxLH2x16s16s32x")
_ITEM: Final = struct.Struct(">BxH")
_APPLICATION_CONTEXT, _CONTEXT_RQ, _CONTEXT_AC, _USER = 0x10, 0x20, 0x21, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_LENGTH, _CLASS, _ROLE, _VERSION = 0x51, 0x52, 0x54, 0x55
_DICOM: Final = b"1.2.840.10008.3.1.1.1"  # PS3.7 A.2.1
_IMPLICIT: Final = b"1.2.840.10008.1.2"
_UNSUPPORTED: Final = b"0.0"  # for what is not a UID: no one supports it
_ACCEPTED, _SYNTAX_NOT_SUPPORTED = 0, 4  # PS3.8 table 9-18
_UID: Final = re.compile(rb"(?=[0-9.]{1,64}\Z)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")  # PS3.5 9.1
_ODD: Final = re.compile(rb"[^ -\[\]-~]")  # not in an AE title, PS3.5 6.2
_NAME_BYTES: Final = 16  # of a version name, PS3.7 D.3.3.2


class MalformedError(Exception):
    """The lengths of the PDU's items contradict each other."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is rejected: the fields of PS3.8 table 9-21 and the reason code."""

    result: int
    source: int
    diagnostic: int
    reason: str

    @property
    def pdu(self) -> bytes:
        """The A-ASSOCIATE-RJ PDU."""
        return struct.pack(">BxLxBBB", 3, 4, self.result, self.source, self.diagnostic)


def refusal(pdu: bytes) -> Refusal | None:
    """Return why an A-ASSOCIATE-RQ is rejected whatever it proposes; None if it is not.

    Raises:
        MalformedError: the PDU is too short.
    """
    version, called, calling = _fixed(pdu)
    if not version & 1:
        return Refusal(1, 2, 2, "protocol-version-not-supported")
    if not _title(calling):
        return Refusal(1, 1, 3, "calling-ae-title-blank")
    if not _title(called):
        return Refusal(1, 1, 7, "called-ae-title-blank")
    return None


def calling_ae_title(pdu: bytes) -> str:
    """Return the calling AE title of an A-ASSOCIATE-RQ, as `strict_form` writes it.

    Raises:
        MalformedError: the PDU is too short.
    """
    _, _, calling = _fixed(pdu)
    return _title(calling).decode("ascii")


def strict_form(pdu: bytes) -> bytes:
    """Rewrite an A-ASSOCIATE-RQ or -AC PDU; return any other one unchanged.

    A byte that an AE title must not contain becomes "?". Of contexts with the same id the first is
    kept.

    Raises:
        MalformedError: the lengths of its items contradict each other.
    """
    if pdu[0] not in {ASSOCIATE_RQ, ASSOCIATE_AC}:
        return pdu
    _, called, calling = _fixed(pdu)
    contexts: dict[int, bytes] = {}
    user: dict[tuple[int, bytes], bytes] = {}
    for kind, value in _items(pdu[_FIXED.size :]):
        if kind in {_CONTEXT_RQ, _CONTEXT_AC} and len(value) >= 4:  # noqa: PLR2004 -- its fields
            rewrite = _proposed if kind == _CONTEXT_RQ else _answered
            contexts.setdefault(value[0], _item(kind, rewrite(value)))
        elif kind == _USER:
            for sub_kind, sub_value in _items(value):
                kept = _user_item(sub_kind, sub_value)
                if kept:
                    user.setdefault((sub_kind, kept if sub_kind == _ROLE else b""), kept)
    user.setdefault((_LENGTH, b""), struct.pack(">L", LONGEST_PDU))
    items = _item(_APPLICATION_CONTEXT, _DICOM) + b"".join(contexts.values())
    items += _item(_USER, b"".join(_item(kind, each) for (kind, _), each in user.items()))
    titles = [(_title(each) or b"?").ljust(16) for each in (called, calling)]
    return _FIXED.pack(pdu[0], _FIXED.size - 6 + len(items), 1, *titles) + items


def _fixed(pdu: bytes) -> tuple[int, bytes, bytes]:
    """Return protocol version, called and calling AE title."""
    try:
        _, _, version, called, calling = _FIXED.unpack_from(pdu)
    except struct.error as exc:
        raise MalformedError from exc
    return version, called, calling


def _title(field: bytes) -> bytes:
    return _ODD.sub(b"?", field.split(b"\0")[0]).strip(b" ")


def _items(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    while encoded:
        if len(encoded) < _ITEM.size:
            raise MalformedError
        kind, length = _ITEM.unpack_from(encoded)
        value, encoded = encoded[_ITEM.size :][:length], encoded[_ITEM.size + length :]
        if len(value) < length:
            raise MalformedError
        yield kind, value


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _uid(value: bytes) -> bytes:
    """Return a UID without its padding; b"" for anything else."""
    stripped = value.strip(b" \0")
    return stripped if _UID.fullmatch(stripped) else b""


def _proposed(value: bytes) -> bytes:
    """Rewrite a proposed context; one without abstract or transfer syntax is not supported."""
    abstract, syntaxes = _UNSUPPORTED, []
    for kind, each in _items(value[4:]):
        if kind == _ABSTRACT_SYNTAX:
            abstract = _uid(each) or _UNSUPPORTED
        elif kind == _TRANSFER_SYNTAX and _uid(each):
            syntaxes.append(_item(_TRANSFER_SYNTAX, _uid(each)))
    syntaxes = syntaxes or [_item(_TRANSFER_SYNTAX, _UNSUPPORTED)]
    return bytes([value[0], 0, 0, 0]) + _item(_ABSTRACT_SYNTAX, abstract) + b"".join(syntaxes)


def _answered(value: bytes) -> bytes:
    """Rewrite the answer to a proposed context; its syntax counts only if it was accepted."""
    result = value[2]
    syntax = next((_uid(each) for kind, each in _items(value[4:]) if kind == _TRANSFER_SYNTAX), b"")
    if result == _ACCEPTED and not syntax:
        result = _SYNTAX_NOT_SUPPORTED
    head = bytes([value[0], 0, min(result, _SYNTAX_NOT_SUPPORTED), 0])
    return head + _item(_TRANSFER_SYNTAX, syntax or _IMPLICIT)


def _user_item(kind: int, value: bytes) -> bytes:
    """Rewrite a user information item (PS3.7 D.3.3); return b"" for one to leave out."""
    if kind == _LENGTH and len(value) == 4:  # noqa: PLR2004 -- an unsigned long
        length = int.from_bytes(value, "big") or LONGEST_PDU
        return struct.pack(">L", min(max(length, SHORTEST_PDU), LONGEST_PDU))
    if kind == _CLASS:
        return _uid(value)
    if kind == _VERSION:
        return _ODD.sub(b"?", value.split(b"\0")[0])[:_NAME_BYTES].strip(b" ")
    if kind == _ROLE and len(value) > 4:  # noqa: PLR2004 -- a length and two roles
        uid = _uid(value[2:-2])
        roles = bytes(min(each, 1) for each in value[-2:])
        return struct.pack(">H", len(uid)) + uid + roles if uid else b""
    return b""
