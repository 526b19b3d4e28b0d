"""An instance's header as its bytes stand: found, bounded and left undecoded.

Acceptance needs four identifiers and one certainty: that the data set is whole. So this walks from
element to element, skips what is long, and decodes nothing; a broken character set or an odd value
in an element that nobody asks for cannot matter. pydicom would decode character sets, recurse into
sequences, warn with the values in question, and take an early end of the bytes for an end of the
data set (docs/adr/0030-listener.md).
"""

import struct
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)

PREAMBLE_BYTES: Final = 128  # PS3.10 7.1
LONGEST_VALUE: Final = 256  # bytes, the rest is cut off; an identifier has at most 64
MOST_ELEMENTS: Final = 500_000  # nested ones included; a radiograph has a few hundred

_UNDEFINED: Final = 0xFFFFFFFF  # PS3.5 7.1.1
_ITEM: Final = 0xFFFEE000  # PS3.5 7.5
_ITEM_DELIMITATION: Final = 0xFFFEE00D
_SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
_DELIMITERS: Final = 0xFFFE
_FILE_META: Final = b"\x02\x00"  # group 0002, PS3.10 7.1
_PIXEL_DATA: Final = 0x7FE00010
_WITH_LONG_LENGTH: Final = frozenset(  # PS3.5 table 7.1-1
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
_PIECE_BYTES: Final = 1 << 16


class UndecodableError(Exception):
    """The bytes are not a data set in the transfer syntax they are said to be in."""


class TruncatedError(UndecodableError):
    """The bytes end before the data set does."""


class TooLargeError(Exception):
    """The data set inflates beyond what is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A Part 10 file's two halves: who it says it is, and where its data set begins."""

    meta: Dataset  # file meta information, undecoded
    offset: int  # bytes before the data set
    size_bytes: int  # of the data set as it lies there, deflated or not


class Element(NamedTuple):
    """A data element's tag, its VR where the transfer syntax writes one, and its length."""

    tag: int
    vr: bytes | None
    length: int


class _Plain:
    """Bytes as they lie in a file, up to its end."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream = stream
        self.left = left

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise TruncatedError
        self.left -= count
        return self._stream.read(count)

    def skip(self, count: int) -> None:
        if count > self.left:
            raise TruncatedError
        self.left -= count
        self._stream.seek(count, 1)

    def at_end(self) -> bool:
        return self.left == 0


class _Inflating:
    """Bytes as they come out of a deflated data set (PS3.5 A.5), never all at once."""

    def __init__(self, stream: BinaryIO, limit: int) -> None:
        self._stream = stream
        self._inflator = zlib.decompressobj(-zlib.MAX_WBITS)
        self._limit = limit
        self._ready = BytesIO()
        self._ready_bytes = 0

    def take(self, count: int) -> bytes:
        parts = []
        while count:
            parts.append(self._piece(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            count -= len(self._piece(count))

    def at_end(self) -> bool:
        return not self._ready_bytes and not self._inflate()

    def _piece(self, at_most: int) -> bytes:
        if not self._ready_bytes and not self._inflate():
            raise TruncatedError
        piece = self._ready.read(at_most)
        self._ready_bytes -= len(piece)
        return piece

    def _inflate(self) -> bool:
        """Make some bytes ready, unless the stream has come to its end."""
        while not self._ready_bytes and not self._inflator.eof:
            deflated = self._inflator.unconsumed_tail or self._stream.read(_PIECE_BYTES)
            try:  # zlib may hold back some bytes even when it has been given all
                inflated = self._inflator.decompress(deflated, _PIECE_BYTES)
            except zlib.error as exc:
                raise UndecodableError from exc
            if not deflated and not inflated and not self._inflator.eof:
                raise TruncatedError
            self._limit -= len(inflated)
            if self._limit < 0:
                raise TooLargeError
            self._ready, self._ready_bytes = BytesIO(inflated), len(inflated)
        return bool(self._ready_bytes)


class _Walk:
    """From element to element through one data set."""

    def __init__(self, source: _Plain | _Inflating, *, order: str = "<") -> None:
        self._source = source
        self._implicit = False
        self._tag_and_length = struct.Struct(f"{order}HHL")
        self._tag_vr_and_length = struct.Struct(f"{order}HH2sH")
        self._length = struct.Struct(f"{order}L")
        self._budget = MOST_ELEMENTS

    def elements(self) -> Iterator[tuple[Element, bytes]]:
        """Give each element with the beginning of its value; of items, nothing is given.

        Ends after the pixel data, which lies whole behind the last element given.
        """
        is_first = True
        while not self._source.at_end():
            head = self._source.take(8)
            if is_first:  # believed rather than the transfer syntax, as pydicom does
                self._implicit = not _is_vr(head[4:6])
                is_first = False
            element = self._element(head, implicit=self._implicit)
            if element.tag >> 16 == _DELIMITERS:
                raise UndecodableError
            yield element, self._value(element)
            if element.tag == _PIXEL_DATA:
                return

    def _value(self, element: Element) -> bytes:
        if element.length == _UNDEFINED:
            self._skip_items(implicit=self._implicit or element.vr == b"UN")
            return b""
        value = self._source.take(min(element.length, LONGEST_VALUE))
        self._source.skip(element.length - len(value))
        return value

    def _element(self, head: bytes, *, implicit: bool) -> Element:
        self._budget -= 1
        if self._budget < 0:
            raise UndecodableError
        group, number, length = self._tag_and_length.unpack(head)
        tag = group << 16 | number
        if implicit or group == _DELIMITERS:
            return Element(tag, None, length)
        vr = head[4:6]
        if not _is_vr(vr):  # some writers fall back to implicit VR within a data set
            return Element(tag, None, length)
        if vr in _WITH_LONG_LENGTH:
            return Element(tag, vr, self._length.unpack(self._source.take(4))[0])
        return Element(tag, vr, self._tag_vr_and_length.unpack(head)[3])

    def _skip_items(self, *, implicit: bool) -> None:
        """Go past a sequence of undefined length, nested to any depth, or past fragments.

        The two alternate: a sequence holds items, an item of undefined length holds elements.
        """
        levels = [(True, implicit)]  # (is a sequence, its elements have no VR)
        while levels:
            in_sequence, implicit = levels[-1]
            element = self._element(self._source.take(8), implicit=in_sequence or implicit)
            if element.tag == (_SEQUENCE_DELIMITATION if in_sequence else _ITEM_DELIMITATION):
                levels.pop()
            elif in_sequence and element.tag != _ITEM:
                raise UndecodableError
            elif element.length != _UNDEFINED:
                self._source.skip(element.length)
            else:  # PS3.5 6.2.2: what is inside a UN of undefined length is in implicit VR
                levels.append((not in_sequence, implicit or element.vr == b"UN"))


def read_file_meta(stream: BinaryIO) -> Arrived:
    """Read a Part 10 file's meta information (PS3.10 7.1); the stream is left at its data set.

    Raises:
        UndecodableError: this is not a Part 10 file.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    if stream.read(PREAMBLE_BYTES + 4)[PREAMBLE_BYTES:] != b"DICM":
        raise UndecodableError
    meta: dict[BaseTag, DataElement | RawDataElement] = {}
    offset = stream.tell()
    while stream.read(2) == _FILE_META:
        stream.seek(offset)
        walk = _Walk(_Plain(stream, size - offset))
        element, value = next(walk.elements())
        meta[BaseTag(element.tag)] = _raw(element, value)
        offset = stream.tell()
    stream.seek(offset)
    return Arrived(meta=Dataset(meta), offset=offset, size_bytes=size - offset)


def read_header(
    stream: BinaryIO,
    transfer_syntax_uid: str,
    *,
    size_bytes: int,
    tags: Container[int],
    most_bytes: int,
) -> Dataset:
    """Find elements by their tags, undecoded, and see that the data set is whole.

    The data set is the next `size_bytes` of the stream. Its first element is among those found
    whatever it is: what comes back empty is empty. `most_bytes` bounds what it may inflate to.

    Raises:
        TruncatedError: the bytes end within an element, the pixel data being the last one needed.
        UndecodableError: they are not a data set in this transfer syntax.
        TooLargeError: they inflate to more than `most_bytes`.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        walk = _Walk(_Inflating(stream, most_bytes))
    else:
        order = ">" if transfer_syntax_uid == ExplicitVRBigEndian else "<"
        walk = _Walk(_Plain(stream, size_bytes), order=order)
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    for element, value in walk.elements():
        if element.tag in tags or not found:
            found[BaseTag(element.tag)] = _raw(element, value)
    return Dataset(found)


def _raw(element: Element, value: bytes) -> RawDataElement:
    vr = element.vr.decode("ascii") if element.vr else None
    return RawDataElement(
        BaseTag(element.tag), vr, element.length, value, 0, vr is None, is_little_endian=True
    )


def _is_vr(two_bytes: bytes) -> bool:
    return two_bytes.isalpha() and two_bytes.isupper()
