"""What a problem is called on a page, where programs get the words of RFC 9110 and of pydantic."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from markupsafe import Markup

_TITLES: Final[Mapping[HTTPStatus, str]] = {
    HTTPStatus.BAD_REQUEST: "This request cannot be understood",
    HTTPStatus.UNAUTHORIZED: "Sign in first",
    HTTPStatus.FORBIDDEN: "Not for your role",
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address cannot be used so",
    HTTPStatus.CONFLICT: "This is not possible now",
    HTTPStatus.GONE: "This is not kept any more",
    HTTPStatus.LENGTH_REQUIRED: "This cannot be used as it is",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "This is too large",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "This kind of file is not taken",
    HTTPStatus.UNPROCESSABLE_ENTITY: "This cannot be used as it is",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests: wait a little",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An error in Lobar",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not possible at this moment",
    HTTPStatus.INSUFFICIENT_STORAGE: "The disk is full",
}
_RULES: Final[Mapping[str, str]] = {
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "at least {min_length} characters",
    "string_pattern_mismatch": "has characters that it may not have",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "missing": "is missing",
}
"""pydantic's types of faults, in words that a person can follow."""
_ANY: Final = "cannot be used as it is"
_CODE: Final = re.compile(r"`([^`]+)`")


def title(status: HTTPStatus) -> str:
    """Return the heading of a page about a status."""
    return _TITLES.get(status, status.phrase)


def sentence(detail: str, status: HTTPStatus) -> Markup:
    """Return a detail, escaped, what is in backticks as code; blank if the title says the same."""
    if detail.rstrip(".") in {title(status), status.phrase}:
        return Markup()
    parts = _CODE.split(detail)  # every second one was in backticks
    return Markup().join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def faults_in_words(faults: Sequence[Mapping[str, Any]]) -> str:
    """Return in one line what pydantic found, each fault after the name of its field."""
    return "; ".join(f"{_field(fault)}: {_rule(fault)}" for fault in faults)


def _field(fault: Mapping[str, Any]) -> str:
    return str(fault["loc"][-1]) if fault["loc"] else "body"


def _rule(fault: Mapping[str, Any]) -> str:
    rule = _RULES.get(str(fault["type"]), _ANY)
    try:
        return rule.format_map(fault.get("ctx", {}))
    except KeyError:  # the validation left the limits out
        return _ANY
