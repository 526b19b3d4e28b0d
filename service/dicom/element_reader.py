"""Read the header of an instance: elements found by their tags, bounded and left undecoded.

Acceptance needs four identifiers and the certainty that the data set is whole. So the walk goes
from element to element, skips long values, and decodes nothing: a broken character set or an odd
value in an element that is not asked for has no effect. pydicom would decode character sets,
recurse into sequences, quote the values in question in its warnings, and take an early end of the
bytes for an end of the data set (docs/adr/0030-listener.md).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import BinaryIO, Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from service.dicom.byte_sources import (
    InflatedBytes,
    PlainBytes,
    TooLargeError,
    UndecodableError,
)
from service.dicom.element_walker import Element, ElementWalker

PREAMBLE_BYTES: Final = 128  # PS3.10 7.1
LONGEST_VALUE: Final = 256  # bytes, the rest is cut off; an identifier has at most 64
LARGEST_INFLATED: Final = 320 << 20  # bytes; the bundle's preprocessing reads no more either

_FILE_META: Final = b"\x02\x00"  # group 0002, PS3.10 7.1
_FILE_META_TAGS: Final = range(0x00020000, 0x00030000)
_PIXEL_DATA: Final = 0x7FE00010


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10File:
    """The meta information of a Part 10 file, and where its data set begins."""

    meta: Dataset  # file meta information, undecoded
    offset: int  # bytes before the data set
    size_bytes: int  # of the data set as stored, deflated or not


def read_file_meta(stream: BinaryIO) -> Part10File:
    """Read a Part 10 file's meta information (PS3.10 7.1); the stream is left at its data set.

    The first one counts. Its elements ascend (PS3.5 7.1), so one of group 0002 that does not is of
    a second one, which some writers leave in the data set.

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
        walker = ElementWalker(
            PlainBytes(stream, size - offset),
            longest_value=LONGEST_VALUE,
            last_tags=_FILE_META_TAGS,  # one element, then look again whether there is another
        )
        (_, element, value), *_ = walker.elements()
        if meta and element.tag <= max(meta):
            break
        meta[BaseTag(element.tag)] = _raw(element, value)
        offset = stream.tell()
    stream.seek(offset)
    return Part10File(meta=Dataset(meta), offset=offset, size_bytes=size - offset)


def read_header(
    stream: BinaryIO,
    transfer_syntax_uid: str,
    *,
    size_bytes: int,
    tags: Collection[int],
    most_bytes: int,
    texts: Collection[int] = (),
    longest_text: int = LONGEST_VALUE,
) -> Dataset:
    """Find elements by their tags, undecoded, and check that the data set is whole.

    Of a deflated one that inflates beyond `LARGEST_INFLATED` only that much is checked: a few
    hundred kilobytes would otherwise cost seconds, and no more than that is ever read.

    Args:
        stream: its next `size_bytes` are the data set.
        transfer_syntax_uid: its byte order and whether it is deflated follow from this; whether
            its elements have VRs is read from the bytes.
        size_bytes: size of the data set as stored, deflated or not.
        tags: the elements to find.
        most_bytes: limit of the size that it may inflate to.
        texts: more elements, which the data set may lack.
        longest_text: bytes of their values that are kept.

    Returns:
        The elements found, of each value at most `LONGEST_VALUE` bytes, or `longest_text`. The
        first element of the data set is always among them, so that an empty result means an empty
        data set.

    Raises:
        TruncatedError: the bytes end within an element, the pixel data being the last one needed.
        UndecodableError: they are not a data set in this transfer syntax, or one of the elements
            is not among the first `LARGEST_INFLATED` bytes.
        TooLargeError: they inflate to more than `most_bytes`.
    """
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        limit = min(most_bytes, LARGEST_INFLATED)
        source: PlainBytes | InflatedBytes = InflatedBytes(stream, limit)
    else:
        source = PlainBytes(stream, size_bytes)
    walker = ElementWalker(
        source,
        order=">" if transfer_syntax_uid == ExplicitVRBigEndian else "<",
        longest_value=max(LONGEST_VALUE, longest_text),
        last_tags=(_PIXEL_DATA,),
    )
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    try:
        for _, element, value in walker.elements():
            if element.tag in texts:
                found[BaseTag(element.tag)] = _raw(element, value[:longest_text])
            elif element.tag in tags or not found:
                found[BaseTag(element.tag)] = _raw(element, value[:LONGEST_VALUE])
    except TooLargeError as exc:
        if most_bytes <= LARGEST_INFLATED:
            raise
        if not found.keys() >= set(tags):
            raise UndecodableError from exc
    return Dataset(found)


def _raw(element: Element, value: bytes) -> RawDataElement:
    vr = element.vr.decode("ascii") if element.vr else None
    return RawDataElement(
        BaseTag(element.tag), vr, element.length, value, 0, vr is None, is_little_endian=True
    )
