"""DIMSE statuses (PS3.7 annex C) and failure reasons, in one table."""

from typing import Final

from service.domain.reasons import Reason

SUCCESS: Final = 0x0000  # PS3.7 C.1.1
OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 table B.2-1: refused; the sender may try again
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900  # PS3.4 table B.2-1
CANNOT_UNDERSTAND: Final = 0xC000  # PS3.4 table B.2-1
PROCESSING_FAILURE: Final = 0x0110  # PS3.7 C.5.21

REJECTION_STATUSES: Final[dict[Reason, int]] = {
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
"""The status of the C-STORE response for each reason to reject an instance."""
