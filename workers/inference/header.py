"""Parse the header of an instance, tolerant of an odd structure, in little memory.

This runs in the infer worker itself and not in a decoder. So large values are passed over, and what
is read is bounded whatever the size of the file.
"""

import zlib
from collections.abc import MutableSequence
from io import BytesIO
from typing import BinaryIO, Final, cast

from pydicom import dcmread
from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _at_pixel_data, _is_implicit_vr, data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import VR
from pydicom.values import convert_string

_PREFIX_END: Final = 132  # PS3.10 7.1
_META_GROUP: Final = 2
_DELIMITERS: Final = 0xFFFE  # their group
_CHARACTER_SET: Final = 0x00080005
_VRS: Final = frozenset(each.value for each in VR)
_LARGEST_HEADER: Final = 16 << 20  # bytes, inflated and without the values passed over
_LARGEST_VALUE: Final = 1 << 20  # bytes; the values that a report copies have a few hundred


class HeaderTooLargeError(Exception):
    """What precedes the pixels is larger than any header of a radiograph."""


class UnreadableFileError(Exception):
    """The file cannot be read: its cause says why. pydicom raises OSError for content too."""


class _Content:
    """The bytes of a file, of which no more are read than a header has."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _LARGEST_HEADER
        self.tell, self.seek = file.tell, file.seek

    def read(self, count: int = -1) -> bytes:
        """Read the next bytes; all of them if no count is given."""
        try:
            content = self._file.read(count if 0 <= count <= self._left else self._left + 1)
        except OSError as exc:
            raise UnreadableFileError from exc
        self._left -= len(content)
        if self._left < 0:
            raise HeaderTooLargeError
        return content


def parse_header(file: BinaryIO) -> Dataset:
    """Parse the data set before the pixels, its elements undecoded, without values over 1 MiB.

    The first file meta information counts where another one follows it, and delimiters outside of
    any sequence are passed over. An element whose VR is none of PS3.5 6.2 gets the one that
    belongs to its tag.

    Raises:
        HeaderTooLargeError: it has more than 16 MiB.
        UnreadableFileError: the file cannot be read.
        Exception: whatever pydicom raises on a broken element.
    """
    stream = cast("BinaryIO", _Content(file))
    if stream.read(_PREFIX_END)[128:] != b"DICM":
        return _bare_data_set(file)
    meta, offset = _first_meta(stream)
    syntax = UID(str(meta.get("TransferSyntaxUID", "")))
    size, is_cut = file.seek(0, 2), False
    if syntax == DeflatedExplicitVRLittleEndian:
        file.seek(offset)
        stream, is_cut = _inflated(file)
        size, offset = stream.seek(0, 2), 0
    stream.seek(offset)
    is_little_endian = syntax != ExplicitVRBigEndian
    is_implicit = _is_implicit_vr(
        stream, syntax == ImplicitVRLittleEndian, is_little_endian, None, is_sequence=False
    )
    stream.seek(offset)
    header, is_whole = _elements(
        stream, size, is_implicit=is_implicit, is_little_endian=is_little_endian
    )
    if is_cut and not is_whole:
        raise HeaderTooLargeError
    header.file_meta = meta
    header.set_original_encoding(
        is_implicit,
        is_little_endian,
        _character_encoding(header),
    )
    return header


def _bare_data_set(file: BinaryIO) -> Dataset:
    """Parse a data set without a preamble, the encoding of which pydicom finds by itself."""
    file.seek(0)
    try:
        content = file.read(_LARGEST_HEADER)
        is_cut = bool(file.read(1))
    except OSError as exc:
        raise UnreadableFileError from exc
    stream = BytesIO(content)
    header = dcmread(stream, force=True, stop_before_pixels=True)
    if is_cut and stream.tell() == len(content):  # the pixels do not begin before
        raise HeaderTooLargeError
    return header


def _inflated(file: BinaryIO) -> tuple[BytesIO, bool]:
    """Inflate the beginning of a deflated data set (PS3.5 A.5); return also whether more follows.

    Nothing is deflated to more bytes than it has, but for a few.
    """
    try:
        deflated = file.read(_LARGEST_HEADER)
    except OSError as exc:
        raise UnreadableFileError from exc
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, _LARGEST_HEADER)
    return BytesIO(inflated), not inflater.eof


def _first_meta(stream: BinaryIO) -> tuple[FileMetaDataset, int]:
    """Read the first file meta information; return the offset of what follows it.

    Its elements ascend (PS3.5 7.1), so one that does not begins the data set.
    """
    meta, last, offset = FileMetaDataset(), 0, stream.tell()

    def ends(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group != _META_GROUP or tag <= last

    for element in data_element_generator(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=ends
    ):
        last = int(element.tag)
        offset = stream.tell()
        meta[element.tag] = element
    return meta, offset


def _elements(
    stream: BinaryIO, size: int, *, is_implicit: bool, is_little_endian: bool
) -> tuple[Dataset, bool]:
    """Read the elements before the pixels; return also whether the pixels follow."""
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    is_done = False

    def ends(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal is_done
        is_done = is_done or _at_pixel_data(tag, vr, length)
        return is_done

    while not is_done and stream.tell() < size:  # a stray item delimiter ends a generator only
        for element in data_element_generator(
            stream, is_implicit, is_little_endian, ends, defer_size=_LARGEST_VALUE
        ):
            if element.tag.group not in {_META_GROUP, _DELIMITERS} and not _is_passed_over(element):
                found[element.tag] = _with_known_vr(element)
    return Dataset(found), is_done


def _is_passed_over(element: DataElement | RawDataElement) -> bool:
    return isinstance(element, RawDataElement) and element.value is None and element.length > 0


def _with_known_vr(element: DataElement | RawDataElement) -> DataElement | RawDataElement:
    """Return an element with the VR of its tag if its own is none, as DCMTK reads it."""
    if not isinstance(element, RawDataElement) or element.VR in _VRS:
        return element
    return element._replace(VR=None, value=element.value or b"")  # None: pydicom looks it up


def _character_encoding(header: Dataset) -> MutableSequence[str]:
    """Return the encoding of text for pydicom, which then never decodes the element in place."""
    element = header.get_item(_CHARACTER_SET)
    if not isinstance(element, RawDataElement) or not element.value:
        return convert_encodings(None)
    return convert_encodings(convert_string(element.value, element.is_little_endian))
