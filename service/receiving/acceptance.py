"""A header and what its sender said of it → taken or refused, with a reason and a DIMSE status.

Pure: a table of rules over values. Nothing here decodes more than four identifiers, so nothing else
in a header can matter, and no header makes it raise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from service.dicom.statuses import REJECTION_STATUSES
from service.dicom.uids import identifier, is_uid
from service.domain.reasons import Reason

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
IDENTIFIERS: Final = (SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID)
"""Without study and series a report could not be filed beside its image."""


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
    """Refuse for a reason of the door's (those in `REJECTION_STATUSES`)."""
    return Rejection(reason=reason, status=REJECTION_STATUSES[reason])


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
