"""Read the HTTP response of a DICOMweb service to one object as a DIMSE status. No I/O.

By PS3.18 10.5.3 a service names what it stored in Referenced SOP Sequence, and what it did not in
Failed SOP Sequence with a reason that is a DIMSE status.
"""

from collections.abc import Iterator
from typing import Any, Final

import httpx

from service.dicom.statuses import (
    CANNOT_UNDERSTAND,
    COERCION_OF_DATA_ELEMENTS,
    DUPLICATE_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
)
from workers.delivery.response_body import UnreadableError, dataset
from workers.delivery.stored_output import (
    WARNINGS,
)

STORED: Final = frozenset({200, 201, 204})  # any other success, as 202, must name the object
REFUSED: Final = {
    400: CANNOT_UNDERSTAND,
    409: PROCESSING_FAILURE,
    413: PROCESSING_FAILURE,
    415: CANNOT_UNDERSTAND,
    422: CANNOT_UNDERSTAND,
    507: OUT_OF_RESOURCES,
}
"""The DIMSE status of an HTTP status about the object, where the body does not say more."""

ALREADY_STORED: Final = 45070  # Azure's reason for a duplicate: it has the object already
_SOP_INSTANCE_UID: Final = "00080018"
_REFERENCED_SOP_INSTANCE_UID: Final = "00081155"
_WARNING_REASON: Final = "00081196"
_FAILURE_REASON: Final = "00081197"
_FAILED_SOP_SEQUENCE: Final = "00081198"
_REFERENCED_SOP_SEQUENCE: Final = "00081199"
_OTHER_FAILURES_SEQUENCE: Final = "0008119A"  # without UIDs, for what could not be read
_UNSIGNED_SHORT: Final = range(0x10000)  # VR US, PS3.5 6.2


def is_about_the_object(http_status: int) -> bool:
    """Return whether a response is about the object, and not only about the service."""
    return httpx.codes.is_success(http_status) or http_status in REFUSED


def dimse_status(http_status: int, body: bytes | None, sop_instance_uid: str) -> int | None:
    """Return the DIMSE status that a response about one object stands for.

    An object counts as taken only if the service says so: by status 200 with a body that is empty
    or names nothing, or by naming this object.

    Args:
        http_status: the HTTP status.
        body: the inflated body; None if it could not be inflated or is too long.
        sop_instance_uid: that of the object.

    Returns:
        The DIMSE status; None if the service may have taken the object and does not say so.
    """
    is_success = httpx.codes.is_success(http_status)
    try:
        response = _dataset(body)
    except UnreadableError:
        return None if is_success else REFUSED.get(http_status, PROCESSING_FAILURE)
    failed, stored, names_any = _items(response, sop_instance_uid)
    if failed is not None:
        return _failure(failed)
    if stored is not None:
        return _success(stored)
    if is_success and not names_any:
        return SUCCESS if http_status in STORED else None
    return REFUSED.get(http_status, PROCESSING_FAILURE)


def names_instance(body: bytes | None, sop_instance_uid: str) -> bool:
    """Return whether the result of a search (QIDO-RS) is this instance."""
    try:
        found = _values(_dataset(body), _SOP_INSTANCE_UID)
    except UnreadableError:
        return False
    return sop_instance_uid in [uid.strip(" \0") for uid in found if isinstance(uid, str)]


def _dataset(body: bytes | None) -> dict[str, Any]:
    if body is None:
        raise UnreadableError
    return dataset(body) if body.strip() else {}


def _items(
    response: dict[str, Any], uid: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, bool]:
    """Find the items about an instance.

    A failure without a UID is that of the one instance that was sent, unless it is named as stored.

    Returns:
        The item that names it as failed, the item that names it as stored, and whether the response
        has any item at all.
    """
    stored = list(_sequence(response, _REFERENCED_SOP_SEQUENCE))
    failed = list(_sequence(response, _FAILED_SOP_SEQUENCE))
    failed += _sequence(response, _OTHER_FAILURES_SEQUENCE)
    ours = next((item for item in stored if uid in _named(item)), None)
    named = next((item for item in failed if uid in _named(item)), None)
    unnamed = next((item for item in failed if not _named(item)), None)
    return (unnamed if named is None and ours is None else named), ours, bool(failed or stored)


def _sequence(response: dict[str, Any], tag: str) -> Iterator[dict[str, Any]]:
    return (item for item in _values(response, tag) if isinstance(item, dict))


def _values(response: dict[str, Any], tag: str) -> list[Any]:
    element = next((each for key, each in response.items() if key.upper() == tag), None)
    found = element.get("Value") if isinstance(element, dict) else None
    return found if isinstance(found, list) else []


def _named(item: dict[str, Any]) -> list[str]:
    """Return the UID of the instance that an item is about, as a list that may be empty."""
    uids = _values(item, _REFERENCED_SOP_INSTANCE_UID)
    return [uid.strip(" \0") for uid in uids if isinstance(uid, str)]


def _reason(item: dict[str, Any], tag: str) -> int | None:
    """Read a US value, which some services write as text."""
    value = next(iter(_values(item, tag)), None)
    try:
        number = int(value) if isinstance(value, int | str) else -1
    except ValueError:
        return None
    return number if number in _UNSIGNED_SHORT else None


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
