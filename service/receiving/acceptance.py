"""Accept or reject an instance by its header and command, with a reason and a DIMSE status.

Pure: a table of rules over values. Only four identifiers are decoded, so nothing else in a header
has an effect, and no header raises an error.
"""

from collections.abc import Callable, Mapping
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
"""Without study and series a report could not be filed with its image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCommand:
    """UIDs stated before the data set: in the C-STORE request, or in the file meta information."""

    sop_class_uid: str  # blank where it was not stated
    sop_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The identifiers of an accepted instance, each a valid UID."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """The reason for rejecting an instance, and the status of the C-STORE response."""

    reason: Reason
    status: int


def reject(reason: Reason) -> Rejection:
    """Build the rejection for a reason, which must be in `REJECTION_STATUSES`."""
    return Rejection(reason=reason, status=REJECTION_STATUSES[reason])


def review_command(command: StoreCommand, abstract_syntax_uid: str) -> Rejection | None:
    """Reject a C-STORE request by its command, before its data set is received; None accepts it.

    Its SOP class must be the one that its presentation context was accepted for, so that no class
    is received that was not negotiated.
    """
    stated = (command.sop_class_uid, command.sop_instance_uid)
    if not all(stated):
        return reject(Reason.MISSING_IDENTIFIER)
    if not all(map(is_uid, stated)):
        return reject(Reason.INVALID_IDENTIFIER)
    if command.sop_class_uid != abstract_syntax_uid:
        return reject(Reason.SOP_CLASS_MISMATCH)
    return None


Identifiers = Mapping[int, str]
"""The texts of `IDENTIFIERS` by tag; none at all of a header without an element."""


def _is_empty(found: Identifiers, _command: StoreCommand) -> bool:
    return not found


def _lacks_an_identifier(found: Identifiers, _command: StoreCommand) -> bool:
    return not all(found.values())


def _has_an_invalid_identifier(found: Identifiers, _command: StoreCommand) -> bool:
    return not all(map(is_uid, found.values()))


def _is_of_another_class(found: Identifiers, command: StoreCommand) -> bool:
    return command.sop_class_uid not in {"", found[SOP_CLASS_UID]}


def _is_another_instance(found: Identifiers, command: StoreCommand) -> bool:
    return command.sop_instance_uid not in {"", found[SOP_INSTANCE_UID]}


RULES: Final[tuple[tuple[Reason, Callable[[Identifiers, StoreCommand], bool]], ...]] = (
    (Reason.EMPTY_DATA_SET, _is_empty),
    (Reason.MISSING_IDENTIFIER, _lacks_an_identifier),
    (Reason.INVALID_IDENTIFIER, _has_an_invalid_identifier),
    (Reason.SOP_CLASS_MISMATCH, _is_of_another_class),
    (Reason.SOP_INSTANCE_MISMATCH, _is_another_instance),
)
"""Why an instance is rejected: the first rule that holds gives the reason."""


def review(header: Dataset, command: StoreCommand) -> Accepted | Rejection:
    """Accept or reject an instance by its header; never raises."""
    found = {tag: identifier(header, tag) for tag in IDENTIFIERS} if len(header) else {}
    for reason, holds in RULES:
        if holds(found, command):
            return reject(reason)
    return Accepted(
        sop_class_uid=found[SOP_CLASS_UID],
        sop_instance_uid=found[SOP_INSTANCE_UID],
        study_instance_uid=found[STUDY_INSTANCE_UID],
        series_instance_uid=found[SERIES_INSTANCE_UID],
    )
