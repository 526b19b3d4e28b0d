"""What a DICOMweb service answered to one object: its HTTP response as a DIMSE status.

Pure. The words are those of PS3.18 10.5.3: a service names what it stored in Referenced SOP
Sequence, and what it did not in Failed SOP Sequence with a reason that is a DIMSE status.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from service.dicom.statuses import (
    CANNOT_UNDERSTAND,
    COERCION_OF_DATA_ELEMENTS,
    DUPLICATE_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
)
from workers.delivery.stored_output import (
    WARNINGS,
)

STORED: Final = frozenset({200, 201, 204})
ACCEPTED: Final = 202  # with warnings or failures, which the body must name
REFUSED: Final = {
    400: CANNOT_UNDERSTAND,
    409: PROCESSING_FAILURE,
    413: PROCESSING_FAILURE,
    415: CANNOT_UNDERSTAND,
    422: CANNOT_UNDERSTAND,
    507: OUT_OF_RESOURCES,
}
"""What a status that is about the object means, where the body does not say more."""

ALREADY_STORED: Final = 45070  # Azure's word for a duplicate; ours under one UID are one
_REFERENCED_SOP_INSTANCE_UID: Final = "00081155"
_WARNING_REASON: Final = "00081196"
_FAILURE_REASON: Final = "00081197"
_FAILED_SOP_SEQUENCE: Final = "00081198"
_REFERENCED_SOP_SEQUENCE: Final = "00081199"
_OTHER_FAILURES_SEQUENCE: Final = "0008119A"  # without names, for what it could not read


def is_about_the_object(http_status: int) -> bool:
    """Tell whether a response says anything of the object, and not only of the service."""
    return http_status in STORED or http_status == ACCEPTED or http_status in REFUSED


def dimse_status(http_status: int, body: bytes, sop_instance_uid: str) -> int:
    """Read the status that a response about one object stands for.

    An object counts as taken only when the service says so: by status 200 without naming any
    other instead, or by naming this one.
    """
    failed, stored, told = _items(body, sop_instance_uid)
    if failed is not None:
        return _failure(failed)
    if stored is not None:
        return _success(stored)
    if http_status in STORED and not told:
        return SUCCESS
    return REFUSED.get(http_status, PROCESSING_FAILURE)


def _items(body: bytes, uid: str) -> tuple[dict[str, Any] | None, dict[str, Any] | None, bool]:
    """Find what is said of an instance: as failed, as stored, and whether of any at all.

    A failure without a name is that of the one instance that was sent.
    """
    response = _dataset(body)
    stored = list(_sequence(response, _REFERENCED_SOP_SEQUENCE))
    failed = list(_sequence(response, _FAILED_SOP_SEQUENCE))
    failed += _sequence(response, _OTHER_FAILURES_SEQUENCE)
    return (
        next((item for item in failed if uid in (_named(item) or [uid])), None),
        next((item for item in stored if uid in _named(item)), None),
        bool(failed or stored),
    )


def _dataset(body: bytes) -> dict[str, Any]:
    """Read the DICOM JSON model (PS3.18 F.2); empty for whatever is none."""
    try:
        response = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if isinstance(response, list) and len(response) == 1:  # some give a list of data sets
        response = response[0]
    return response if isinstance(response, dict) else {}


def _sequence(dataset: dict[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    return (item for item in _values(dataset, tag) if isinstance(item, dict))


def _values(dataset: dict[str, Any], tag: str) -> list[Any]:
    element = dataset.get(tag)
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def _named(item: dict[str, Any]) -> list[str]:
    """Give the UID of the instance that an item is about; nothing where it does not say."""
    uids = _values(item, _REFERENCED_SOP_INSTANCE_UID)
    return [uid.strip(" \0") for uid in uids if isinstance(uid, str)]


def _reason(item: dict[str, Any], tag: str) -> int | None:
    """Read a US value, which some write as text."""
    value = next(iter(_values(item, tag)), None)
    try:
        number = int(value) if isinstance(value, int | str) else -1
    except ValueError:
        return None
    return number if 0 <= number <= 0xFFFF else None  # noqa: PLR2004 -- a US


def _failure(item: dict[str, Any]) -> int:
    reason = _reason(item, _FAILURE_REASON)
    if reason in {DUPLICATE_SOP_INSTANCE, ALREADY_STORED}:
        return DUPLICATE_SOP_INSTANCE
    if reason is None or reason == SUCCESS or reason in WARNINGS:
        return PROCESSING_FAILURE  # it failed, whatever the reason usually means
    return reason


def _success(item: dict[str, Any]) -> int:
    reason = _reason(item, _WARNING_REASON)
    if reason is None or reason == SUCCESS:
        return SUCCESS
    return reason if reason in WARNINGS else COERCION_OF_DATA_ELEMENTS
