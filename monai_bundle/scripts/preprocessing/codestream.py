"""Check the header of a compressed frame before it is decoded.

A decoder allocates what the codestream asks for, regardless of the DICOM header, and several
decoders return a half-grey image without an error when the bytes end early.
"""

from typing import Final

from scripts.refusal import RadiographRefusedError, RefusalCode

_SOI: Final = b"\xff\xd8"  # ISO/IEC 10918-1 B.2.1; JPEG-LS begins the same way
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"  # ISO/IEC 15444-1 A.4.1, A.5.1; HTJ2K too
_JP2: Final = b"\x00\x00\x00\x0cjP  "  # a JP2 file around the codestream: not allowed, but seen
_END: Final = b"\xff\xd9"  # EOI and EOC alike
_MARKER: Final = 0xFF
_NOT_FRAMES: Final = {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC lie between the SOF markers
_FRAMES: Final = {*range(0xC0, 0xD0), 0xF7} - _NOT_FRAMES  # SOF0 … SOF15, SOF55 of JPEG-LS
_STANDALONE: Final = {0x01, *range(0xD0, 0xD8)}
_START_OF_SCAN: Final = 0xDA


def check_codestream(frame: bytes, rows: int, columns: int) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 frame of another size than `rows` x `columns`.

    Raises:
        RadiographRefusedError: pixels-unreadable, for another size or a missing end marker.
    """
    found = _size(frame)
    if found != (rows, columns):
        raise RadiographRefusedError(
            RefusalCode.PIXELS_UNREADABLE, "the codestream's size is not the header's"
        )
    if not frame.rstrip(b"\x00").endswith(_END) and _END not in frame[-16:]:
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "the codestream is truncated")


def _size(frame: bytes) -> tuple[int, int] | None:
    """Return the rows and columns that the codestream states, or None if it states none."""
    if frame.startswith(_SOI):
        return _jpeg_size(frame)
    start = frame.find(_SOC_SIZ, 0, 4096) if frame.startswith(_JP2) else 0
    if start < 0 or not frame.startswith(_SOC_SIZ, start):
        return None
    right, bottom, left, top = (
        int.from_bytes(frame[at : at + 4]) for at in range(start + 8, start + 24, 4)
    )
    return bottom - top, right - left


def _jpeg_size(frame: bytes) -> tuple[int, int] | None:
    at = len(_SOI)
    while at + 9 <= len(frame) and frame[at] == _MARKER:
        marker = frame[at + 1]
        if marker in _FRAMES:
            return int.from_bytes(frame[at + 5 : at + 7]), int.from_bytes(frame[at + 7 : at + 9])
        if marker == _START_OF_SCAN:
            return None
        if marker == _MARKER:  # fill byte
            at += 1
        elif marker in _STANDALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    return None
