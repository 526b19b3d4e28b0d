"""Read a data set whose structure is not quite that of PS3.5 and PS3.10."""

import zlib
from collections.abc import Collection
from io import SEEK_CUR, BytesIO
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import _is_implicit_vr, data_element_generator, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from scripts.refusal import RadiographRefusedError, RefusalCode

_PREFIX_END: Final = 132  # PS3.10 7.1
_META_GROUP: Final = 2
_DELIMITERS: Final = 0xFFFE  # their group
_PIXEL_DATA: Final = 0x7FE00010
_PIXEL_DATA_TAG: Final = b"\xe0\x7f\x10\x00"  # encapsulated: always little endian (PS3.5 A.4)
_UNDEFINED: Final = 0xFFFFFFFF  # length, PS3.5 7.1.1
_LARGEST_INFLATED: Final = 320 << 20  # bytes; 100 Mpixel in three colours and a header fit


def read_data_set(content: bytes, tags: Collection[int]) -> Dataset:
    """Read elements of a DICOM file, or of a data set without file meta information.

    The first file meta information counts where another one follows it. Delimiters outside of any
    sequence are passed over, and what follows Pixel Data is not read. Encapsulated Pixel Data is
    all bytes up to the end: `fragments` finds its end, with or without a sequence delimiter.

    Raises:
        RadiographRefusedError: it inflates beyond any radiograph. A parser's own errors pass.
    """
    stream = BytesIO(content)
    if content[128:_PREFIX_END] != b"DICM":  # pydicom finds the encoding by itself
        headless: Dataset = read_partial(
            stream, _is_encapsulated, force=True, specific_tags=list(tags)
        )
        return _with_fragments(headless, stream)
    stream.seek(_PREFIX_END)
    meta, offset = _first_meta(stream)
    stream.seek(offset)
    syntax = meta.get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = BytesIO(_inflate(content[offset:]))
    is_little_endian = syntax != ExplicitVRBigEndian
    assumed = UID(syntax).is_implicit_VR if syntax and UID(syntax).is_transfer_syntax else False
    is_implicit = _is_implicit_vr(stream, assumed, is_little_endian, None, False)  # noqa: FBT003 -- pydicom's signature: not a sequence
    stream.seek(0 if syntax == DeflatedExplicitVRLittleEndian else offset)
    dataset = _elements(stream, tags, is_implicit=is_implicit, is_little_endian=is_little_endian)
    dataset.file_meta = meta
    dataset.set_original_encoding(is_implicit, is_little_endian)
    return dataset


def _first_meta(stream: BytesIO) -> tuple[FileMetaDataset, int]:
    """Read the first file meta information; return the offset of what follows it.

    Its elements ascend (PS3.5 7.1), so one that does not begins the data set.
    """
    meta, last, offset = FileMetaDataset(), 0, stream.tell()

    def ends(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group != _META_GROUP or tag <= last

    for element in data_element_generator(stream, False, True, ends):  # noqa: FBT003 -- explicit VR, little endian
        last = int(element.tag)
        offset = stream.tell()
        meta[element.tag] = element
    return meta, offset


def _elements(
    stream: BytesIO, tags: Collection[int], *, is_implicit: bool, is_little_endian: bool
) -> Dataset:
    found = Dataset()
    while _has_more(stream):  # a stray item delimiter ends a generator, not the data set
        for element in data_element_generator(
            stream,
            is_implicit,
            is_little_endian,
            _is_encapsulated,
            specific_tags=[BaseTag(tag) for tag in tags],
        ):
            if element.tag.group != _DELIMITERS:
                found[element.tag] = element
            if element.tag == _PIXEL_DATA:
                return found
        if _PIXEL_DATA in _with_fragments(found, stream):
            return found
    return found


def _has_more(stream: BytesIO) -> bool:
    is_more = bool(stream.read(1))
    stream.seek(-int(is_more), SEEK_CUR)
    return is_more


def _is_encapsulated(tag: BaseTag, _vr: str | None, length: int) -> bool:
    return tag == _PIXEL_DATA and length == _UNDEFINED


def _with_fragments(dataset: Dataset, stream: BytesIO) -> Dataset:
    """Add encapsulated Pixel Data if the stream is at it; pydicom drops it without a delimiter."""
    start = stream.tell()
    head = stream.read(12)
    undefined = _UNDEFINED.to_bytes(4, "little")
    if head[:4] != _PIXEL_DATA_TAG or undefined not in {head[4:8], head[8:]}:
        stream.seek(start)
        return dataset
    if head[4:8] == undefined:  # implicit VR
        stream.seek(start + 8)
    dataset.add_new(_PIXEL_DATA, "OB", stream.read())
    return dataset


def _inflate(deflated: bytes) -> bytes:
    """Inflate up to the limit and no further (PS3.5 A.5); pydicom itself has no limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, _LARGEST_INFLATED + 1)
    if len(inflated) > _LARGEST_INFLATED:
        raise RadiographRefusedError(RefusalCode.SIZE, "inflates beyond any radiograph")
    return inflated
