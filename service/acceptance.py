"""A header and what its sender said of it → taken or refused, with a reason and a DIMSE status.

Pure: a table of rules over values. Nothing here decodes more than four identifiers, so nothing else
in a header can matter, and no header makes it raise.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from service.reasons import Reason

SUCCESS: Final = 0x0000  # PS3.7 C.1.1
OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 table B.2-1: refused; the sender may try again
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900  # PS3.4 table B.2-1
CANNOT_UNDERSTAND: Final = 0xC000  # PS3.4 table B.2-1
PROCESSING_FAILURE: Final = 0x0110  # PS3.7 C.5.21

STATUSES: Final[dict[Reason, int]] = {
    Reason.OUT_OF_RESOURCES: OUT_OF_RESOURCES,
    Reason.UNDECODABLE: CANNOT_UNDERSTAND,
    Reason.TRUNCATED: CANNOT_UNDERSTAND,
    Reason.EMPTY_DATA_SET: CANNOT_UNDERSTAND,
    Reason.MISSING_IDENTIFIER: DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    Reason.INVALID_IDENTIFIER: DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    Reason.SOP_CLASS_MISMATCH: DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    Reason.SOP_INSTANCE_MISMATCH: DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
    Reason.INTERNAL_ERROR: PROCESSING_FAILURE,
}
"""What a sender is answered, for each reason the door knows."""

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
IDENTIFIERS: Final = (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)
"""Without study and series a report could not be filed beside its image."""

_UID: Final = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*\Z")
"""PS3.5 9.1, but a component may begin with a zero: senders have such, and it harms nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCommand:
    """What a sender said ahead of the data set: in the C-STORE request, or in a file's meta."""

    sop_class_uid: str  # blank where nothing was said
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The identifiers of an instance that is taken, each a valid UID."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why an instance is refused, and what its sender is answered."""

    reason: Reason
    status: int


def reject(reason: Reason) -> Rejection:
    """Refuse for a reason of the door's (those in `STATUSES`)."""
    return Rejection(reason=reason, status=STATUSES[reason])


def identifier(header: Dataset, tag: int) -> str:
    """Give a UID as it stands without its padding; blank when absent or empty.

    A value that cannot be a UID comes back as one that `is_uid` refuses.
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
    """Tell whether this is a UID, and nothing but digits and dots."""
    return _UID.match(text) is not None


def review_command(command: StoreCommand, abstract_syntax_uid: str) -> Rejection | None:
    """Refuse a C-STORE request for what it says itself, before its data set has come in.

    Its SOP class must be the one its presentation context was accepted for: a class that was not
    negotiated does not come in under another's name.
    """
    stated = (command.sop_class_uid, command.sop_instance_uid)
    if not all(stated):
        return reject(Reason.MISSING_IDENTIFIER)
    if not all(map(is_uid, stated)):
        return reject(Reason.INVALID_IDENTIFIER)
    if command.sop_class_uid != abstract_syntax_uid:
        return reject(Reason.SOP_CLASS_MISMATCH)
    return None


def _is_empty(header: Dataset, _command: StoreCommand) -> bool:
    return len(header) == 0


def _lacks_an_identifier(header: Dataset, _command: StoreCommand) -> bool:
    return not all(identifier(header, tag) for tag in IDENTIFIERS)


def _has_an_invalid_identifier(header: Dataset, _command: StoreCommand) -> bool:
    return not all(is_uid(identifier(header, tag)) for tag in IDENTIFIERS)


def _is_of_another_class(header: Dataset, command: StoreCommand) -> bool:
    return command.sop_class_uid not in {"", identifier(header, SOP_CLASS_UID)}


def _is_another_instance(header: Dataset, command: StoreCommand) -> bool:
    return command.sop_instance_uid not in {"", identifier(header, SOP_INSTANCE_UID)}


RULES: Final[tuple[tuple[Reason, Callable[[Dataset, StoreCommand], bool]], ...]] = (
    (Reason.EMPTY_DATA_SET, _is_empty),
    (Reason.MISSING_IDENTIFIER, _lacks_an_identifier),
    (Reason.INVALID_IDENTIFIER, _has_an_invalid_identifier),
    (Reason.SOP_CLASS_MISMATCH, _is_of_another_class),
    (Reason.SOP_INSTANCE_MISMATCH, _is_another_instance),
)
"""Why an instance is refused: the first that holds is the reason given."""


def review(header: Dataset, command: StoreCommand) -> Accepted | Rejection:
    """Judge an instance by its header; any header gets a verdict."""
    for reason, holds in RULES:
        if holds(header, command):
            return reject(reason)
    return Accepted(
        sop_class_uid=identifier(header, SOP_CLASS_UID),
        sop_instance_uid=identifier(header, SOP_INSTANCE_UID),
        study_instance_uid=identifier(header, STUDY_INSTANCE_UID),
        series_instance_uid=identifier(header, SERIES_INSTANCE_UID),
    )
