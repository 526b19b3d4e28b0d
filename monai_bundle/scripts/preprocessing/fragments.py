"""Read the one frame of encapsulated Pixel Data (PS3.5 A.4), whatever its offset table says."""

from typing import Final

from scripts.refusal import RadiographRefusedError, RefusalCode

_ITEM: Final = b"\xfe\xff\x00\xe0"
_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_HEADER_LENGTH: Final = 8  # bytes: the tag and the length
_CODESTREAMS: Final = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")


def is_codestream(frame: bytes | memoryview) -> bool:
    """Return whether bytes begin as a JPEG, JPEG-LS or JPEG 2000 codestream, or a JP2 file."""
    return bytes(frame[:8]).startswith(_CODESTREAMS)


def is_encapsulated(pixel_data: bytes | memoryview) -> bool:
    """Return whether Pixel Data is a sequence of items, whatever the transfer syntax says.

    Some writers change one without the other. An item is followed by another one, by a delimiter
    or by nothing, which no pixels imitate by chance.
    """
    pixel_data = memoryview(pixel_data)
    at = _HEADER_LENGTH + int.from_bytes(pixel_data[4:_HEADER_LENGTH], "little")
    follows = bytes(pixel_data[at : at + len(_ITEM)])
    return bytes(pixel_data[: len(_ITEM)]) == _ITEM and follows in {_ITEM, _DELIMITER, b""}


def single_frame(pixel_data: bytes | memoryview) -> bytes:
    """Return all fragments of a single frame, joined in their order.

    A single frame needs neither a Basic nor an Extended Offset Table: the first item is skipped
    unread, however long it is, unless a codestream begins there because the table was left out.
    Bytes behind the last fragment that are no item end the frame, with or without a sequence
    delimiter.

    Raises:
        RadiographRefusedError: pixels-unreadable, for a value that has no fragment.
    """
    pixel_data = memoryview(pixel_data)
    fragments, at = [], 0
    while bytes(pixel_data[at : at + len(_ITEM)]) == _ITEM:
        start = at + _HEADER_LENGTH
        at = start + int.from_bytes(pixel_data[at + 4 : start], "little")
        fragments.append(pixel_data[start:at])
    has_table = bool(fragments) and not is_codestream(fragments[0])
    frame = b"".join(fragments[has_table:])
    if not frame:
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "no fragment")
    return frame
