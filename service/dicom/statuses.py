"""DIMSE statuses (PS3.7 annex C), each defined once, and the status of each rejection reason."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from service.domain.reasons import Reason

SUCCESS: Final = 0x0000  # PS3.7 C.1.1

WARNING: Final = 0x0001  # PS3.7 C.4.1
ATTRIBUTE_LIST_ERROR: Final = 0x0107  # PS3.7 C.4.2
ATTRIBUTE_VALUE_OUT_OF_RANGE: Final = 0x0116  # PS3.7 C.4.3
COERCION_OF_DATA_ELEMENTS: Final = 0xB000  # PS3.4 table B.2-1
SERVICE_CLASS_WARNINGS: Final = range(0xB000, 0xC000)  # PS3.7 annex C: Bxxx

OUT_OF_RESOURCES: Final = 0xA700  # PS3.4 table B.2-1: refused; the sender may try again
OUT_OF_RESOURCES_CODES: Final = range(0xA700, 0xA800)  # PS3.4 table B.2-1: A7xx
DATA_SET_DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900  # PS3.4 table B.2-1
CANNOT_UNDERSTAND: Final = 0xC000  # PS3.4 table B.2-1

PROCESSING_FAILURE: Final = 0x0110  # PS3.7 C.5.21
DUPLICATE_SOP_INSTANCE: Final = 0x0111  # PS3.7 C.5.8
NO_SUCH_INSTANCE: Final = 0x0112  # PS3.7 C.5.19
NO_SUCH_EVENT_TYPE: Final = 0x0113  # PS3.7 C.5.18
INVALID_ARGUMENT_VALUE: Final = 0x0115  # PS3.7 C.5.10
NO_SUCH_SOP_CLASS: Final = 0x0118  # PS3.7 C.5.20
CLASS_INSTANCE_CONFLICT: Final = 0x0119  # PS3.7 C.5.7
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122  # PS3.7 C.5.6
NO_SUCH_ACTION: Final = 0x0123  # PS3.7 C.5.24
DUPLICATE_TRANSACTION: Final = 0x0131  # PS3.3 C.14.1.1
RESOURCE_LIMITATION: Final = 0x0213  # PS3.7 C.5.22

REJECTION_STATUSES: Final[Mapping[Reason, int]] = MappingProxyType(
    {
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
)
"""The status of the C-STORE response for each reason to reject an instance."""
