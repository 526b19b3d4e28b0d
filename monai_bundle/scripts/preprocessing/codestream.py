"""Read the header of a compressed frame and hold it against the data set before decoding.

A decoder allocates what the codestream asks for, regardless of the DICOM header, and several
decoders return a half-grey image without an error when the bytes end early.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from scripts.preprocessing.pixel_header import PixelHeader
from scripts.refusal import RadiographRefusedError, RefusalCode

MOST_SCANS: Final = 64  # of a JPEG; encoders write up to 12, and each costs a pass over the image
MOST_TILES: Final = 65_535  # of JPEG 2000 (ISO/IEC 15444-1 A.4.2)
LARGEST_PRECISION: Final = 16  # bits

_SOI: Final = b"\xff\xd8"  # ISO/IEC 10918-1 B.2.1; JPEG-LS begins the same way
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1, A.5.1; HTJ2K too
_JP2: Final = b"\x00\x00\x00\x0cjP  "  # a JP2 file around the codestream: not allowed, but seen
_END: Final = b"\xff\xd9"  # EOI and EOC alike
_START_OF_TILE_PART: Final = b"\xff\x90"
_CODING_STYLE: Final = b"\xff\x52"
_MARKER: Final = 0xFF
_NOT_FRAMES: Final = {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC lie between the SOF markers
_FRAMES: Final = {*range(0xC0, 0xD0)} - _NOT_FRAMES  # SOF0 to SOF15
_LOSSLESS: Final = 0xC3
_SEQUENTIAL_DCT: Final = {0xC0, 0xC1}  # baseline, extended
_HUFFMAN_DCT: Final = _SEQUENTIAL_DCT | {0xC2}  # and progressive
_JPEG_LS: Final = 0xF7  # SOF55, ISO/IEC 14495-1 C.1.1
_STANDALONE: Final = {0x01, *range(0xD0, 0xD8)}
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
# Behind FF, entropy-coded data has 00 (JPEG) or a bit of 0 (JPEG-LS), and restart markers.
_NEXT_MARKER: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_APP14: Final = 0xEE
_APP0: Final = 0xE0
_FILLING: Final = b"\x55\x2b" * 32  # bits that stand for no flat picture in any Huffman table


class Coding(StrEnum):
    """The kinds of codestream, by the decoder that they need."""

    JPEG_DCT = "JPEG with DCT"
    JPEG_LOSSLESS = "JPEG lossless"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Codestream:
    """What a codestream states about its image."""

    coding: Coding
    rows: int
    columns: int
    components: int
    precision: int  # bits of a sample
    is_signed: bool | None = None  # None: its syntax does not state a sign
    is_rgb: bool | None = None  # None: it does not state the colour space
    tiles: int = 1
    scans_from: int = 0  # of JPEG: where the first scan begins
    repeats_when_cut: bool = False  # of JPEG: its decoder repeats a value where bytes are missing
    is_uniform: bool = True  # its components have one size, precision and sign
    levels: int = 0  # of JPEG 2000: of its wavelet transform, if its samples begin at the origin
    is_reversible: bool = False  # of JPEG 2000: whether its transform is 5-3, not 9-7


def read_codestream(frame: bytes) -> Codestream:
    """Read the header of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Raises:
        RadiographRefusedError: pixels-unreadable, for bytes that are none or end in the header.
    """
    if frame.startswith(_SOI):
        return _read_jpeg(frame)
    start = frame.find(_SOC_SIZ) if frame.startswith(_JP2) else 0
    if start < 0 or not frame.startswith(_SOC_SIZ, start):
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "not a codestream")
    return _read_jpeg_2000(frame, start + len(_SOC_SIZ))


def check_codestream(codestream: Codestream, header: PixelHeader, frame: bytes) -> None:
    """Refuse a codestream that contradicts the header, costs too much, or is not complete.

    A precision and a sign that differ from the header's are no reason: they have a right reading.

    Raises:
        RadiographRefusedError: codestream-contradicts-header, for another size or number of
            components; pixel-format-unsupported, for more than 16 bits; size-out-of-range, for too
            many scans or tiles; pixels-unreadable, where bytes are missing.
    """
    found = codestream.rows, codestream.columns
    if found != (header.rows, header.columns):
        detail = f"{found[1]}x{found[0]} pixels, not {header.columns}x{header.rows}"
        raise RadiographRefusedError(RefusalCode.CODESTREAM, detail)
    if codestream.components != header.samples_per_pixel:
        detail = f"{codestream.components} components, {header.samples_per_pixel} samples per pixel"
        raise RadiographRefusedError(RefusalCode.CODESTREAM, detail)
    if not 2 <= codestream.precision <= LARGEST_PRECISION or not codestream.is_uniform:  # noqa: PLR2004 -- bits, as in pixel_header
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, f"{codestream.precision} bits")
    if codestream.tiles > MOST_TILES:
        raise RadiographRefusedError(RefusalCode.SIZE, f"{codestream.tiles} tiles")
    if codestream.coding is Coding.JPEG_2000:
        if _end_of_tile_parts(frame) is None:
            raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "truncated")
        return
    _end_of_scans(frame, codestream.scans_from)


def _read_jpeg(frame: bytes) -> Codestream:
    """Read the segments up to the first scan (ISO/IEC 10918-1 B.2)."""
    at, found, is_rgb = len(_SOI), None, None
    while at + 4 <= len(frame) and frame[at] == _MARKER:
        marker = frame[at + 1]
        if marker == _MARKER:  # fill byte
            at += 1
            continue
        if marker in _STANDALONE:
            at += 2
            continue
        length = int.from_bytes(frame[at + 2 : at + 4])
        segment = frame[at + 4 : at + 2 + length]
        if marker in _FRAMES or marker == _JPEG_LS:
            found = marker, segment
        elif marker == _APP0 and segment.startswith(b"JFIF\x00"):
            is_rgb = False
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) > 11:  # noqa: PLR2004 -- where the transform is
            is_rgb = segment[11] == 0
        elif marker == _START_OF_SCAN:
            return _jpeg_frame(found, is_rgb, frame, at)
        at += 2 + max(length, 2)
    raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "ends before its first scan")


def _jpeg_frame(
    found: tuple[int, bytes] | None,
    is_rgb: bool | None,  # noqa: FBT001 -- as stated
    frame: bytes,
    at: int,
) -> Codestream:
    """Read a frame header and the scan header at `at` (ISO/IEC 10918-1 B.2.2, B.2.3)."""
    if found is None or len(found[1]) < 6:  # noqa: PLR2004 -- up to Nf
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "no frame header")
    marker, segment = found
    codings = dict.fromkeys(_HUFFMAN_DCT, Coding.JPEG_DCT)
    coding = (codings | {_LOSSLESS: Coding.JPEG_LOSSLESS, _JPEG_LS: Coding.JPEG_LS}).get(marker)
    if coding is None:
        detail = f"JPEG of kind SOF{marker - 0xC0}"  # hierarchical or arithmetic
        raise RadiographRefusedError(RefusalCode.PIXEL_FORMAT, detail)
    names = segment[6::3]
    first = at + 5 + 2 * frame[at + 4]  # Ss: of a lossless scan, its predictor
    repeats = marker in _SEQUENTIAL_DCT or (
        marker == _LOSSLESS and frame[first : first + 1] == b"\1"
    )
    return Codestream(
        coding=coding,
        rows=int.from_bytes(segment[1:3]),
        columns=int.from_bytes(segment[3:5]),
        components=segment[5],
        precision=segment[0],
        is_rgb=True if is_rgb is None and names == b"RGB" else is_rgb,
        scans_from=at,
        repeats_when_cut=repeats,
    )


def _read_jpeg_2000(frame: bytes, at: int) -> Codestream:
    """Read the SIZ segment and the transformation in COD (ISO/IEC 15444-1 A.5.1, A.6.1)."""
    length = int.from_bytes(frame[at : at + 2])
    components = int.from_bytes(frame[at + 36 : at + 38])
    if length != 38 + 3 * components or at + length > len(frame) or not components:
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "invalid SIZ segment")
    sizes = [int.from_bytes(frame[i : i + 4]) for i in range(at + 4, at + 36, 4)]
    right, bottom, left, top, tile_columns, tile_rows, tile_left, tile_top = sizes
    if not tile_columns or not tile_rows:
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "tiles without a size")
    samples = frame[at + 38 : at + length]
    has_colour_transform, levels, is_reversible = _read_cod(frame, at + length)
    return Codestream(
        coding=Coding.JPEG_2000,
        rows=bottom - top,
        columns=right - left,
        components=components,
        precision=(samples[0] & 0x7F) + 1,
        is_signed=bool(samples[0] & 0x80),
        is_rgb=has_colour_transform or None,
        tiles=-(-(right - tile_left) // tile_columns) * -(-(bottom - tile_top) // tile_rows),
        is_uniform=samples == bytes([samples[0], 1, 1]) * components,
        levels=levels if not (left or top) else 0,
        is_reversible=is_reversible,
    )


def _read_cod(frame: bytes, at: int) -> tuple[bool, int, bool]:
    """Return whether the components become RGB, and the transform: its levels, if it is 5-3.

    The segments of the main header are passed one by one from `at`: a comment may hold anything.
    """
    while at + 4 <= len(frame) and not frame.startswith((_CODING_STYLE, _START_OF_TILE_PART), at):
        at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    segment = frame[at + 2 : at + 14]
    if not frame.startswith(_CODING_STYLE, at) or len(segment) < 12:  # noqa: PLR2004 -- up to the transformation
        return False, 0, False
    return segment[6] == 1, segment[7], segment[11] == 1


def check_scans(jpeg: bytes) -> None:
    """Refuse a JPEG file that has too many scans, before it is decoded.

    Raises:
        RadiographRefusedError: size-out-of-range.
    """
    try:
        _end_of_scans(jpeg, len(_SOI))
    except RadiographRefusedError as refusal:
        if refusal.code == RefusalCode.SIZE:
            raise


def _end_of_scans(frame: bytes, at: int) -> int:
    """Return where the end marker behind the scans of a JPEG is; what follows it is not read.

    Args:
        frame: a JPEG or JPEG-LS codestream.
        at: where its first scan begins.

    Raises:
        RadiographRefusedError: it has too many scans, or no end marker.
    """
    scans = 0
    while scans <= MOST_SCANS:
        marker = _NEXT_MARKER.search(frame, at)
        if marker is None:
            raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "truncated")
        at = marker.start()
        if frame[at + 1] == _END_OF_IMAGE:
            return at
        scans += frame[at + 1] == _START_OF_SCAN
        at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    raise RadiographRefusedError(RefusalCode.SIZE, f"more than {MOST_SCANS} scans")


def _end_of_tile_parts(frame: bytes) -> int | None:
    """Return where the last tile-part ends (A.4.2), or None where bytes of one are missing."""
    at = frame.find(_SOC_SIZ) + 2
    while at + 4 <= len(frame) and not frame.startswith(_START_OF_TILE_PART, at):
        at += 2 + int.from_bytes(frame[at + 2 : at + 4])  # a segment of the main header (A.2)
    if at + 4 > len(frame):
        return None
    while frame.startswith(_START_OF_TILE_PART, at):
        length = int.from_bytes(frame[at + 6 : at + 10])
        if length == 0:  # the last tile-part, up to EOC
            end = frame.rfind(_END, at)
            return end if end >= 0 else None
        at += max(length, 12)
    return at if at <= len(frame) else None


def with_filling(codestream: Codestream, frame: bytes) -> bytes:
    """Return a JPEG with bytes inserted behind its last entropy-coded segment.

    A decoder passes over them where that segment is whole, and decodes them where it was cut. The
    fill bytes FF that may precede the end marker (ISO/IEC 10918-1 B.1.1.2) belong to the marker.
    """
    end = _end_of_scans(frame, codestream.scans_from)
    filled = len(frame[:end].rstrip(b"\xff"))
    return frame[:filled] + _FILLING + frame[filled:]


def with_end_marker(frame: bytes) -> bytes:
    """Return a JPEG 2000 codestream with EOC right behind its tile-parts, where decoders want it.

    A JP2 file is returned as it is.
    """
    end = _end_of_tile_parts(frame)
    is_there = end is not None and frame[end : end + 4] in {_END, _END + b"\0"}  # nothing behind it
    return frame if end is None or is_there or frame.startswith(_JP2) else frame[:end] + _END
