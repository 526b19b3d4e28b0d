"""Errors as FHIR has them: an OperationOutcome."""

from http import HTTPStatus
from typing import Any, Final

FHIR_JSON: Final = "application/fhir+json"
_CODES: Final = {  # IssueType
    HTTPStatus.UNAUTHORIZED: "login",
    HTTPStatus.FORBIDDEN: "forbidden",
    HTTPStatus.NOT_FOUND: "not-found",
    HTTPStatus.GONE: "deleted",
    HTTPStatus.METHOD_NOT_ALLOWED: "not-supported",
    HTTPStatus.NOT_ACCEPTABLE: "not-supported",
    HTTPStatus.TOO_MANY_REQUESTS: "throttled",
    HTTPStatus.SERVICE_UNAVAILABLE: "transient",
}


def operation_outcome(status: HTTPStatus, detail: str) -> dict[str, Any]:
    """Return the OperationOutcome of an error."""
    fallback = "exception" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid"
    issue = {
        "severity": "error",
        "code": _CODES.get(status, fallback),
        "diagnostics": detail,
    }
    return {"resourceType": "OperationOutcome", "issue": [issue]}
