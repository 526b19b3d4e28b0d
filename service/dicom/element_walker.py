"""Walk through the elements of a data set: bounded, without recursion, without decoding a value.

The one walker for both readers: `element_reader` finds elements in the header of a file and skips
its sequences; `sequence_reader` reads a small data set with the items of its sequences.
"""

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from service.dicom.byte_sources import (
    InflatedBytes,
    PlainBytes,
    TruncatedError,
    UndecodableError,
)

ITEM: Final = 0xFFFEE000  # PS3.5 7.5
MOST_ELEMENTS: Final = 500_000  # nested ones included; a radiograph has a few hundred

_ITEM_DELIMITATION: Final = 0xFFFEE00D
_SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
_DELIMITERS: Final = 0xFFFE  # their group
_FILE_META: Final = 0x0002  # as above, PS3.10 7.1
_UNDEFINED: Final = 0xFFFFFFFF  # PS3.5 7.1.1
_HEAD_BYTES: Final = 8
_LENGTH_BYTES: Final = 4
_WITH_LONG_LENGTH: Final = frozenset(  # PS3.5 table 7.1-1
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)


_WITH_SHORT_LENGTH: Final = frozenset(
    (
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"),
        *(b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
)
_NOT_PLAIN: Final = (_DELIMITERS, _FILE_META)  # groups


class Element(NamedTuple):
    """A data element's tag, its VR where the transfer syntax writes one, and its length."""

    tag: int
    vr: bytes | None
    length: int


@dataclass(slots=True)
class _Level:
    """A sequence or an item that has begun and not ended."""

    is_sequence: bool
    implicit: bool | None  # its elements have no VR; None: its first element decides
    stop: int | None  # the position at its end; None: a delimiter ends it
    limit: int | None  # nothing in it extends beyond this position


class ElementWalker:
    """Walk from element to element; open sequences and items are kept on a stack.

    Args:
        source: the bytes of the data set.
        order: the byte order, as `struct` writes it.
        implicit: whether elements have no VR. None believes the bytes more than the transfer
            syntax, as pydicom does: the first element decides, any later one may lack its VR, and
            the first element of an item decides for the item, and a misplaced delimiter is passed
            over.
        sequences: walk into sequences and items of defined length too, and yield what is in them;
            in implicit VR, where a sequence of defined length looks like any other element, these
            tags are sequences. None skips them, and yields nothing of any item.
        longest_value: bytes of a value that are kept; None keeps all.
        last_tags: the walk ends after the first top-level element with one of these tags.
    """

    def __init__(
        self,
        source: PlainBytes | InflatedBytes,
        *,
        order: str = "<",
        implicit: bool | None = None,
        sequences: Container[int] | None = None,
        longest_value: int | None = None,
        last_tags: Container[int] = (),
    ) -> None:
        self._source = source
        self._tag_and_length = struct.Struct(f"{order}HHL")
        self._tag_vr_and_length = struct.Struct(f"{order}HH2sH")
        self._length = struct.Struct(f"{order}L")
        self._is_lenient = implicit is None
        self._implicit = implicit
        self._sequences = sequences
        self._longest_value = longest_value
        self._last_tags = last_tags
        self._is_past_last = False
        self._budget = MOST_ELEMENTS
        self._levels: list[_Level] = []

    def elements(self) -> Iterator[tuple[int, Element, bytes]]:
        """Yield the depth of each element, the element, and its value (or the beginning of it).

        Sequences and items are elements without a value: a sequence at depth 0 has its items at
        depth 1 and their elements at depth 2.

        Raises:
            TruncatedError: the bytes end before the data set does.
            UndecodableError: they are not a data set, or have more than `MOST_ELEMENTS` elements.
            TooLargeError: they inflate to more than the source's limit.
        """
        while not self._has_ended():
            depth = len(self._levels)
            level = self._levels[-1] if depth else None
            element = self._read_head(level)
            if level is None and element.vr in _WITH_SHORT_LENGTH:
                yield depth, element, self._read_short(element)
                continue
            is_wanted = not depth or self._sequences is not None
            if self._is_boundary(element, level):
                if self._begin_or_end_item(element, level) and is_wanted:
                    yield depth, element, b""
                continue
            value = self._read_value(element, level, is_wanted=is_wanted)
            if not depth and element.tag in self._last_tags:
                self._is_past_last = True
            if is_wanted:
                yield depth, element, value

    def _has_ended(self) -> bool:
        """Leave the sequences and items that end here; return whether the data set ends too."""
        while self._levels and self._levels[-1].stop == self._source.position:
            self._levels.pop()
        return not self._levels and (self._is_past_last or self._source.at_end())

    def _read_head(self, level: _Level | None) -> Element:
        self._budget -= 1
        if self._budget < 0:
            raise UndecodableError
        self._require(_HEAD_BYTES, level)
        head = self._source.take(_HEAD_BYTES)
        if level is None and self._implicit is False and head[4:6] in _WITH_SHORT_LENGTH:
            group, number, vr, length = self._tag_vr_and_length.unpack(head)
            if group not in _NOT_PLAIN:  # as most elements are: what follows comes to the same
                return Element(group << 16 | number, vr, length)
        group, number, length = self._tag_and_length.unpack(head)
        tag = group << 16 | number
        vr = head[4:6]
        if group == _DELIMITERS or self._is_implicit(group, vr, level):
            return Element(tag, None, length)
        if self._is_lenient and not _is_vr(vr):  # some writers change to implicit VR midway
            return Element(tag, None, length)
        if vr in _WITH_LONG_LENGTH:
            self._require(_LENGTH_BYTES, level)
            return Element(tag, vr, self._length.unpack(self._source.take(_LENGTH_BYTES))[0])
        return Element(tag, vr, self._tag_vr_and_length.unpack(head)[3])

    def _is_implicit(self, group: int, vr: bytes, level: _Level | None) -> bool:
        """Return whether elements here have no VR; the first one decides where that is open."""
        if level is not None:
            if level.is_sequence:
                return True
            if level.implicit is None:
                level.implicit = not _is_vr(vr)
            return level.implicit
        if group == _FILE_META and self._is_lenient:
            return not _is_vr(vr)  # of a second file meta information: it decides for nothing else
        if self._implicit is None:
            self._implicit = not _is_vr(vr)
        return self._implicit

    def _is_boundary(self, element: Element, level: _Level | None) -> bool:
        """Return whether this stands where an item or a delimiter must, or is one."""
        if level is not None and level.is_sequence:
            return True
        if element.tag >> 16 != _DELIMITERS:
            return False
        return level is None or not self._is_lenient or element.tag == _ITEM_DELIMITATION

    def _begin_or_end_item(self, element: Element, level: _Level | None) -> bool:
        """Enter or skip an item (then True), or leave an item or sequence of undefined length."""
        if level is None:
            if self._is_lenient and element.tag != ITEM:
                return False  # a stray delimiter ends nothing
            raise UndecodableError
        if level.is_sequence and element.tag == ITEM:
            if element.length != _UNDEFINED and self._sequences is None:
                self._source.skip(element.length)
            else:
                self._begin(element, level, is_sequence=False)
            return True
        end = _SEQUENCE_DELIMITATION if level.is_sequence else _ITEM_DELIMITATION
        if element.tag != end or level.stop is not None:
            if self._is_past_last:  # fragments of the pixel data, without a delimiter behind them
                raise TruncatedError
            raise UndecodableError
        self._levels.pop()
        return False

    def _read_value(self, element: Element, level: _Level | None, *, is_wanted: bool) -> bytes:
        """Read or skip an element's value, or enter the sequence that it is."""
        if element.length == _UNDEFINED or self._is_sequence(element):
            self._begin(element, level, is_sequence=True)
            return b""
        self._require(element.length, level)
        if not is_wanted:
            self._source.skip(element.length)
            return b""
        if self._longest_value is None or element.length <= self._longest_value:
            return self._source.take(element.length)
        value = self._source.take(self._longest_value)
        self._source.skip(element.length - self._longest_value)
        return value

    def _read_short(self, element: Element) -> bytes:
        """Read the value of an element of the top level that cannot be a sequence."""
        if element.tag in self._last_tags:
            self._is_past_last = True
        kept = element.length
        if self._longest_value is not None and kept > self._longest_value:
            kept = self._longest_value
        value = self._source.take(kept)
        if kept < element.length:
            self._source.skip(element.length - kept)
        return value

    def _is_sequence(self, element: Element) -> bool:
        if self._sequences is None:
            return False
        return element.vr == b"SQ" or (element.vr is None and element.tag in self._sequences)

    def _begin(self, element: Element, level: _Level | None, *, is_sequence: bool) -> None:
        implicit = bool(self._implicit if level is None else level.implicit)
        if not self._is_lenient:
            # PS3.5 6.2.2: the content of a UN of undefined length is in implicit VR
            inner: bool | None = implicit or element.vr == b"UN"
        else:  # some writers leave it in explicit VR
            inner = True if implicit else None
        limit = None if level is None else level.limit
        stop = None
        if element.length != _UNDEFINED:
            self._require(element.length, level)
            stop = limit = self._source.position + element.length
        self._levels.append(
            _Level(
                is_sequence,
                inner,
                stop,
                limit,
            )
        )

    def _require(self, count: int, level: _Level | None) -> None:
        """Refuse what extends beyond the sequence or item that it is in."""
        if level is None or level.limit is None:
            return
        if self._source.position + count > level.limit:
            raise UndecodableError


def _is_vr(two_bytes: bytes) -> bool:
    return two_bytes.isalpha() and two_bytes.isupper()
