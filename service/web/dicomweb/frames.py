"""Find the first frame of an instance in its file, as it is stored."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from service.web.dicomweb.header import Header, Stretch, UnreadableHeaderError

MEDIA_TYPES: Final[dict[str, str]] = {  # PS3.18 tables 8.7.3-2 and 8.7.3-4
    **dict.fromkeys(
        (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), "image/jpeg"
    ),
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), "image/jls"),
    **dict.fromkeys((JPEG2000Lossless, JPEG2000), "image/jp2"),
    **dict.fromkeys((HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K), "image/jphc"),
    RLELossless: "image/dicom-rle",
}
NATIVE: Final = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian})
_ITEM: Final = 0xFFFEE000  # PS3.5 A.4
_HEAD_BYTES: Final = 8
_MOST_FRAGMENTS: Final = 10_000


def first_frame(path: Path, header: Header) -> tuple[Stretch, ...]:
    """Return where the first frame's bytes are; nothing where there are no pixels.

    Raises:
        UnreadableHeaderError: the fragments are broken, or are of several frames.
        OSError: the file cannot be read, or is gone.
    """
    if header.pixels is None:
        return ()
    frames = _integer(header, "00280008", 1)
    if not header.are_encapsulated:
        return (Stretch(header.pixels.offset, header.pixels.length // max(1, frames)),)
    with path.open("rb") as stream:
        fragments = tuple(_fragments(stream, header.pixels))[1:]  # behind the offset table
    if frames > 1:
        if len(fragments) != frames:
            raise UnreadableHeaderError
        return fragments[:1]
    return fragments


def _fragments(stream: BinaryIO, pixels: Stretch) -> Iterator[Stretch]:
    position, end = pixels.offset, pixels.offset + pixels.length
    for _ in range(_MOST_FRAGMENTS):
        stream.seek(position)
        head = stream.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return
        group, number, length = struct.unpack("<HHL", head)
        position += _HEAD_BYTES
        if group << 16 | number != _ITEM:  # the delimiter
            return
        if position + length > end:
            raise UnreadableHeaderError
        yield Stretch(position, length)
        position += length
    raise UnreadableHeaderError


def _integer(header: Header, tag: str, otherwise: int) -> int:
    (value, *_) = header.attributes.get(tag, {}).get("Value") or [otherwise]
    return value if isinstance(value, int) else otherwise
