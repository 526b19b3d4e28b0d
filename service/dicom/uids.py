"""Read and validate UIDs in an undecoded header."""

import re
from typing import Final

from pydicom.dataset import Dataset

_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*\Z")
"""PS3.5 9.1, but a component may begin with a zero: some senders write such UIDs, harmlessly."""


def identifier(header: Dataset, tag: int) -> str:
    """Return a UID without its padding; blank when absent or empty.

    A value that cannot be a UID is returned as a text that `is_uid` refuses.
    """
    element = header.get_item(tag, keep_deferred=True)
    if element is None or element.value is None:
        return ""
    if element.VR not in {"UI", "UN", None}:
        return f"not a UID but {element.VR}"
    if isinstance(element.value, bytes):
        return element.value.decode("ascii", errors="replace").rstrip("\0 ")
    return str(element.value).rstrip("\0 ")


def is_uid(text: str) -> bool:
    """Return whether this is a UID, and nothing but digits and dots."""
    return _UID.match(text) is not None
