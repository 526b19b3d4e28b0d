"""Read the acknowledgement of a message (ACK, HL7 v2.5.1 2.9.2, 2.15) as a DIMSE status."""

from dataclasses import dataclass
from typing import Final

from service.dicom.statuses import (
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
)

ACCEPTED: Final = frozenset({"AA", "CA"})
ERRORS: Final = frozenset({"AE", "CE"})  # the message is at fault
REJECTED: Final = frozenset({"AR", "CR"})  # its kind is not taken, or the receiver cannot now
_SHORTEST: Final = 8  # MSH and its delimiters
_CODE, _CONTROL_ID = 1, 2  # of MSA
_FORMER_ERROR, _ERROR = 1, 3  # of ERR: before v2.5, and since
_FORMER_CODE: Final = 3  # component of ERR-1
_NOT_TAKEN: Final = frozenset({"200", "201", "202", "203"})  # table 0357: type, event, ID, version
_NOT_NOW: Final = frozenset({"206", "207"})  # record locked, internal error of the application


class UnreadableAcknowledgementError(Exception):
    """The answer is no acknowledgement of this message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledgement:
    """What the receiver says of a message."""

    code: str  # MSA-1
    control_id: str  # MSA-2: of the message
    errors: tuple[str, ...]  # ERR-3, or ERR-1 of older receivers: codes of table 0357

    @property
    def status(self) -> int:
        """The DIMSE status that it stands for.

        A rejection is temporary unless it says that this kind of message is never taken.
        """
        if self.code in ACCEPTED:
            return SUCCESS
        if not _NOT_NOW.isdisjoint(self.errors):
            return OUT_OF_RESOURCES
        if self.code in ERRORS:
            return PROCESSING_FAILURE
        if self.code == "CR" or not _NOT_TAKEN.isdisjoint(self.errors):
            return CANNOT_UNDERSTAND
        return OUT_OF_RESOURCES


def read_acknowledgement(answer: bytes, control_id: str) -> Acknowledgement:
    """Read the acknowledgement of the message with a control ID.

    Raises:
        UnreadableAcknowledgementError: it is none, or of another message.
    """
    text = answer.decode("utf-8", "replace").strip()
    if not text.startswith("MSH") or len(text) <= _SHORTEST:
        raise UnreadableAcknowledgementError
    delimiter, component = text[3], text[4]
    segments = [each.split(delimiter) for each in text.replace("\n", "\r").split("\r")]
    found = next((each for each in segments if each[0] == "MSA"), [])
    if len(found) <= _CONTROL_ID or found[_CONTROL_ID].strip() != control_id:
        raise UnreadableAcknowledgementError
    code = found[_CODE].strip()
    if code not in ACCEPTED | ERRORS | REJECTED:
        raise UnreadableAcknowledgementError
    errors = (_error(each, component) for each in segments if each[0] == "ERR")
    return Acknowledgement(
        code=code, control_id=control_id, errors=tuple(each for each in errors if each)
    )


def _error(segment: list[str], component: str) -> str:
    """Return the code of an ERR segment: ERR-3, or the last identifier of ERR-1 before v2.5."""
    coded = segment[_ERROR] if len(segment) > _ERROR else ""
    if coded:
        return coded.split(component)[0].strip()
    former = segment[_FORMER_ERROR].split(component) if len(segment) > _FORMER_ERROR else []
    return former[_FORMER_CODE].split("&")[0].strip() if len(former) > _FORMER_CODE else ""
