"""Parse the header of an instance from bytes in memory, tolerant of an odd structure.

All input is read before anything is parsed: pydicom raises OSError for content too, which would
otherwise pass for a fault of the disk.
"""

import zlib
from collections.abc import MutableSequence
from io import BytesIO
from typing import Final

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
from pydicom.values import convert_string

_PREFIX_END: Final = 132  # PS3.10 7.1
_META_GROUP: Final = 2
_DELIMITERS: Final = 0xFFFE  # their group
_CHARACTER_SET: Final = 0x00080005
_LARGEST_HEADER: Final = 16 << 20  # bytes, inflated; what follows is not held in memory


def parse_header(content: bytes) -> Dataset:
    """Parse the data set before the pixels, its elements undecoded.

    The first file meta information counts where another one follows it, and delimiters outside of
    any sequence are passed over. Raises whatever pydicom raises on a broken element.
    """
    stream = BytesIO(content)
    if content[128:_PREFIX_END] != b"DICM":  # pydicom finds the encoding by itself
        return dcmread(stream, force=True, stop_before_pixels=True)
    stream.seek(_PREFIX_END)
    meta, offset = _first_meta(stream)
    syntax = UID(str(meta.get("TransferSyntaxUID", "")))
    is_cut = False
    if syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        stream, offset = BytesIO(inflater.decompress(content[offset:], _LARGEST_HEADER)), 0
        is_cut = bool(inflater.unconsumed_tail)
    stream.seek(offset)
    is_little_endian = syntax != ExplicitVRBigEndian
    is_implicit = _is_implicit_vr(
        stream, syntax == ImplicitVRLittleEndian, is_little_endian, None, is_sequence=False
    )
    stream.seek(offset)
    header, is_whole = _elements(stream, is_implicit=is_implicit, is_little_endian=is_little_endian)
    if is_cut and not is_whole:
        raise ValueError(f"the header has more than {_LARGEST_HEADER} bytes")
    header.file_meta = meta
    header.set_original_encoding(
        is_implicit,
        is_little_endian,
        _character_encoding(header),
    )
    return header


def _first_meta(stream: BytesIO) -> tuple[FileMetaDataset, int]:
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
    stream: BytesIO, *, is_implicit: bool, is_little_endian: bool
) -> tuple[Dataset, bool]:
    """Read the elements before the pixels; return also whether the pixels follow."""
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    size, is_done = len(stream.getbuffer()), False

    def ends(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal is_done
        is_done = is_done or _at_pixel_data(tag, vr, length)
        return is_done

    while not is_done and stream.tell() < size:  # a stray item delimiter ends a generator only
        for element in data_element_generator(stream, is_implicit, is_little_endian, ends):
            if element.tag.group not in {_META_GROUP, _DELIMITERS}:
                found[element.tag] = element
    return Dataset(found), is_done


def _character_encoding(header: Dataset) -> MutableSequence[str]:
    """Return the encoding of text for pydicom, which then never decodes the element in place."""
    element = header.get_item(_CHARACTER_SET)
    if not isinstance(element, RawDataElement) or not element.value:
        return convert_encodings(None)
    return convert_encodings(convert_string(element.value, element.is_little_endian))
