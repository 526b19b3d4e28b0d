"""Lobar's identity on the network and in its objects, by which it recognises its own results.

The implementation class UID is derived from a UUID (PS3.5 B.2), so it needs no registered root.
It never changes, so that objects written by earlier releases are recognised too.
"""

import contextlib
from typing import Final

from pydicom.dataset import Dataset

MANUFACTURER: Final = "Lobar"
VERSION: Final = "0.1.0"  # pyproject.toml reads it here: a literal, in this one place

IMPLEMENTATION_CLASS_UID: Final = "2.25.8334285600452653344769067718245633780"
IMPLEMENTATION_VERSION_NAME: Final = "LOBAR_" + VERSION.replace(".", "_")  # SH: at most 16

_IMPLEMENTATION_CLASS_UID: Final = 0x00020012  # file meta information, PS3.10 7.1
_MANUFACTURER: Final = 0x00080070
_INSTANCE_CREATOR_UID: Final = 0x00080014  # SOP Common module, PS3.3 C.12.1
_CONTRIBUTING_EQUIPMENT_SEQUENCE: Final = 0x0018A001


def is_own_result(header: Dataset) -> bool:
    """Return whether Lobar created an instance.

    A data set is recognised by its Instance Creator UID or Contributing Equipment: both survive a
    PACS that stores and forwards it. File meta information names only the writer of the file, which
    for bytes that our listener spooled is Lobar itself: pass it only for files from elsewhere.
    Never raises, whatever the header holds.

    Args:
        header: an instance's data set or its file meta information.
    """
    for bears_mark in (_names_our_implementation, _lists_our_equipment):
        with contextlib.suppress(Exception):  # what cannot be decoded is not ours
            if bears_mark(header):
                return True
    return False


def _names_our_implementation(header: Dataset) -> bool:
    return any(
        tag in header and header[tag].value == IMPLEMENTATION_CLASS_UID
        for tag in (_IMPLEMENTATION_CLASS_UID, _INSTANCE_CREATOR_UID)
    )


def _lists_our_equipment(header: Dataset) -> bool:
    if _CONTRIBUTING_EQUIPMENT_SEQUENCE not in header:
        return False
    return any(
        _MANUFACTURER in equipment and equipment[_MANUFACTURER].value == MANUFACTURER
        for equipment in header[_CONTRIBUTING_EQUIPMENT_SEQUENCE].value
    )
