"""Read the header of a kept file as the DICOM JSON model, within bounds.

The bytes may be hostile: they are walked through without recursion, and what is larger than any
header of a radiograph is not read on.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.uid import DeflatedExplicitVRLittleEndian

from service.dicom.byte_sources import (
    InflatedBytes,
    PlainBytes,
    TooLargeError,
    UndecodableError,
)
from service.dicom.element_reader import read_file_meta
from service.dicom.element_walker import ITEM, Element, ElementWalker
from service.dicom.uids import identifier
from service.web.dicomweb.json_model import (
    LONGEST_INLINE,
    Value,
    attribute,
    encodings_of,
    vr_of,
)

ENCAPSULATED_DOCUMENT: Final = 0x00420011
_CHARACTER_SET: Final = 0x00080005
_TRANSFER_SYNTAX_UID: Final = 0x00020010  # PS3.10 table 7.1-1
_UNDEFINED: Final = 0xFFFFFFFF  # PS3.5 7.1.1
_PIXELS: Final = range(0x7FE00008, 0x7FE00011)  # of integers and of floats
_MOST_ELEMENTS: Final = 20_000  # a radiograph has a few hundred
_MOST_BYTES: Final = 4 << 20  # of all values together, those left out not counted
_DEEPEST: Final = 64  # sequences and items within each other


class _KnownSequences:
    """The tags that are sequences in PS3.6."""

    def __contains__(self, tag: object) -> bool:
        return isinstance(tag, int) and dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"


_SEQUENCES: Final = _KnownSequences()


class UnreadableHeaderError(Exception):
    """The header is broken, or larger than any header of a radiograph."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of bytes of a file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A file's attributes before the pixels, and where its large values are."""

    transfer_syntax_uid: str
    attributes: dict[str, Value]  # by tag, eight hexadecimal digits; without the pixels
    pixels: Stretch | None  # of native ones; encapsulated: from the first item to the file's end
    are_encapsulated: bool
    document: Stretch | None


@dataclass(slots=True)
class _Reading:
    """What was read so far."""

    attributes: dict[str, Value] = field(default_factory=dict)
    encodings: list[str] = field(default_factory=lambda: encodings_of(b""))
    items: dict[int, list[dict[str, Value]]] = field(default_factory=dict)  # by depth
    data_sets: dict[int, dict[str, Value]] = field(default_factory=dict)
    count: int = 0
    size: int = 0

    def add(self, depth: int, element: Element, value: bytes) -> None:
        """Add an element, an item or a sequence.

        Raises:
            UnreadableHeaderError: the header is too large.
        """
        self.count += 1
        if self.count > _MOST_ELEMENTS or depth > _DEEPEST:
            raise UnreadableHeaderError
        if element.tag == ITEM:
            self.data_sets[depth + 1] = {}
            self.items[depth - 1].append(self.data_sets[depth + 1])
            return
        target = self.data_sets[depth] if depth else self.attributes
        if _is_sequence(element):
            self.items[depth] = []
            target[_key(element.tag)] = {"vr": "SQ", "Value": self.items[depth]}
        elif element.length <= LONGEST_INLINE:
            self._add_value(depth, element, value, target)

    def _add_value(
        self, depth: int, element: Element, value: bytes, target: dict[str, Value]
    ) -> None:
        self.size += len(value)
        if self.size > _MOST_BYTES:
            raise UnreadableHeaderError
        if element.tag == _CHARACTER_SET and depth == 0:
            self.encodings = encodings_of(value)
            # what this is sent in, PS3.18 F.2
            target[_key(element.tag)] = {"vr": "CS", "Value": ["ISO_IR 192"]}
            return
        read = attribute(vr_of(element.tag, element.vr), value, self.encodings)
        if read is not None:
            target[_key(element.tag)] = read


def read_whole(path: Path) -> Header:
    """Read the header of a file.

    Raises:
        UnreadableHeaderError: it is broken, or too large.
        OSError: the file cannot be read, or is gone.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream)
    except (UndecodableError, TooLargeError, ValueError, KeyError) as exc:
        raise UnreadableHeaderError from exc


def _read(stream: BinaryIO) -> Header:
    part10 = read_file_meta(stream)
    syntax = identifier(part10.meta, _TRANSFER_SYNTAX_UID)
    is_deflated = syntax == DeflatedExplicitVRLittleEndian
    source = (
        InflatedBytes(stream, 4 * _MOST_BYTES)
        if is_deflated
        else PlainBytes(stream, part10.size_bytes)
    )
    walker = ElementWalker(source, sequences=_SEQUENCES, longest_value=LONGEST_INLINE)
    reading, document = _Reading(), None
    pixels, are_encapsulated = None, False
    for depth, element, value in walker.elements():
        at = part10.offset + source.position
        if depth == 0 and element.tag in _PIXELS:
            are_encapsulated = element.length == _UNDEFINED
            end = part10.offset + part10.size_bytes
            pixels = Stretch(at, end - at) if are_encapsulated else _before(at, element)
            break
        if depth == 0 and element.tag == ENCAPSULATED_DOCUMENT and element.length != _UNDEFINED:
            document = _before(at, element)
            continue
        reading.add(depth, element, value)
    return Header(
        transfer_syntax_uid=syntax,
        attributes=dict(sorted(reading.attributes.items())),
        pixels=None if is_deflated else pixels,
        are_encapsulated=are_encapsulated,
        document=None if is_deflated else document,
    )


def _before(position: int, element: Element) -> Stretch:
    return Stretch(position - element.length, element.length)


def _is_sequence(element: Element) -> bool:
    if element.length == _UNDEFINED or element.vr == b"SQ":
        return True
    return element.vr is None and element.tag in _SEQUENCES


def _key(tag: int) -> str:
    return f"{tag:08X}"
