"""A small data set and the items in it, found without decoding: bounded by its own bytes.

`service.dicom.element_reader` skips sequences in a file; here they matter, and all is in memory.
"""

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final

from service.dicom.element_reader import UndecodableError

ITEM: Final = 0xFFFEE000  # PS3.5 7.5
_ITEM_DELIMITATION: Final = 0xFFFEE00D
_SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
_DELIMITERS: Final = 0xFFFE
_UNDEFINED: Final = 0xFFFFFFFF  # PS3.5 7.1.1
_TAG_AND_LENGTH: Final = struct.Struct("<HHL")
_VR_AND_LENGTH: Final = struct.Struct("<2sH")
_LENGTH: Final = struct.Struct("<L")
_WITH_LONG_LENGTH: Final = frozenset(  # PS3.5 table 7.1-1
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


@dataclass(slots=True)
class _Level:
    """A sequence or an item that has begun."""

    is_sequence: bool
    stop: int | None  # None: a delimiter ends it
    limit: int  # nothing in it reaches further


def elements(
    encoded: bytes, *, implicit: bool, sequences: Container[int] = ()
) -> Iterator[tuple[int, int, bytes]]:
    """Give depth, tag and value of each element in Little Endian, those in items too.

    Sequences and items come as elements without a value: a sequence at depth 0 has its items at
    depth 1 and their elements at depth 2. In implicit VR a sequence of defined length is only
    known by `sequences`.

    Raises:
        UndecodableError: this is no data set.
    """
    walk = _Walk(encoded, implicit=implicit, sequences=sequences)
    try:
        yield from walk.elements()
    except struct.error as exc:
        raise UndecodableError from exc


class _Walk:
    """From element to element; what has begun and not ended lies on a stack."""

    def __init__(self, encoded: bytes, *, implicit: bool, sequences: Container[int]) -> None:
        self._encoded = encoded
        self._implicit = implicit
        self._sequences = sequences
        self._at = 0
        self._levels: list[_Level] = []

    def elements(self) -> Iterator[tuple[int, int, bytes]]:
        while not self._ended():
            depth = len(self._levels)
            group, number, length = _TAG_AND_LENGTH.unpack_from(self._encoded, self._at)
            tag = group << 16 | number
            if group == _DELIMITERS or (self._levels and self._levels[-1].is_sequence):
                self._at += _TAG_AND_LENGTH.size
                if self._begin_or_end_item(tag, length):
                    yield depth, tag, b""
            else:
                yield depth, tag, self._value(tag)

    def _ended(self) -> bool:
        """Leave what ends here; tell whether that was all.

        Raises:
            UndecodableError: the bytes end before the data set does.
        """
        while self._levels and self._levels[-1].stop == self._at:
            self._levels.pop()
        if self._at < len(self._encoded):
            return False
        if self._levels:
            raise UndecodableError
        return True

    def _begin_or_end_item(self, tag: int, length: int) -> bool:
        """Go into an item (then True), or out of an item or sequence of undefined length."""
        level = self._levels[-1] if self._levels else None
        if level is None:
            raise UndecodableError
        if level.is_sequence and tag == ITEM:
            self._begin(length, is_sequence=False)
            return True
        end = _SEQUENCE_DELIMITATION if level.is_sequence else _ITEM_DELIMITATION
        if tag != end or level.stop is not None:
            raise UndecodableError
        self._levels.pop()
        return False

    def _value(self, tag: int) -> bytes:
        """Read an element's value, or go into the sequence that it is."""
        vr, length = self._vr_and_length()
        if vr == b"SQ" or length == _UNDEFINED or (vr is None and tag in self._sequences):
            self._begin(length, is_sequence=True)
            return b""
        start, self._at = self._at, self._within(length)
        return self._encoded[start : self._at]

    def _vr_and_length(self) -> tuple[bytes | None, int]:
        start = self._at
        if self._implicit:
            self._at += _TAG_AND_LENGTH.size
            return None, _TAG_AND_LENGTH.unpack_from(self._encoded, start)[2]
        vr, length = _VR_AND_LENGTH.unpack_from(self._encoded, start + 4)
        self._at += _TAG_AND_LENGTH.size
        if vr in _WITH_LONG_LENGTH:
            (length,) = _LENGTH.unpack_from(self._encoded, self._at)
            self._at += _LENGTH.size
        return vr, length

    def _begin(self, length: int, *, is_sequence: bool) -> None:
        stop = None if length == _UNDEFINED else self._within(length)
        limit = self._limit() if stop is None else stop
        self._levels.append(_Level(is_sequence=is_sequence, stop=stop, limit=limit))

    def _limit(self) -> int:
        return self._levels[-1].limit if self._levels else len(self._encoded)

    def _within(self, length: int) -> int:
        """Give where so many bytes end.

        Raises:
            UndecodableError: outside of what they are in.
        """
        stop = self._at + length
        if stop > self._limit():
            raise UndecodableError
        return stop
