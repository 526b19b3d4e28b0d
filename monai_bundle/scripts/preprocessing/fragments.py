"""Read the one frame of encapsulated Pixel Data (PS3.5 A.4), whatever its offset table says."""

from typing import Final

from scripts.refusal import RadiographRefusedError, RefusalCode

_ITEM: Final = b"\xfe\xff\x00\xe0"
_HEADER_LENGTH: Final = 8  # bytes: the tag and the length


def single_frame(pixel_data: bytes | memoryview) -> bytes:
    """Return all fragments of a single frame, joined in their order.

    A single frame needs neither a Basic nor an Extended Offset Table: the first item is skipped
    unread, however long it is. Bytes behind the last fragment that are no item end the frame, with
    or without a sequence delimiter.

    Raises:
        RadiographRefusedError: pixels-unreadable, for a value that has no fragment.
    """
    pixel_data = memoryview(pixel_data)
    fragments, at = [], 0
    while bytes(pixel_data[at : at + len(_ITEM)]) == _ITEM:
        start = at + _HEADER_LENGTH
        at = start + int.from_bytes(pixel_data[at + 4 : start], "little")
        fragments.append(pixel_data[start:at])
    frame = b"".join(fragments[1:])  # the first item is the Basic Offset Table
    if not frame:
        raise RadiographRefusedError(RefusalCode.PIXELS_UNREADABLE, "no fragment")
    return frame
