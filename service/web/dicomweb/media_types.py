"""Choose the media type of a response by the Accept header (PS3.18 8.7)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import Request

from service.web.problem import Problem

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
OCTETS: Final = "application/octet-stream"
ANY_SYNTAX: Final = "*"
_RELATED: Final = "multipart/related"
_LONGEST: Final = 2000
_MEMBER: Final = re.compile(r'(?:[^,"]|"[^"]*")+')
_PARAMETER: Final = re.compile(r'(?:[^;"]|"[^"]*")+')


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A media range that the client accepts."""

    media_type: str  # of the parts, where it is multipart/related
    is_multipart: bool
    transfer_syntax: str | None  # as stated, PS3.18 8.7.3.5.2
    is_anything: bool  # */*
    quality: float

    def takes(self, media_type: str) -> bool:
        """Return whether a media type is in this range."""
        kind, _, subtype = self.media_type.partition("/")
        return (
            self.is_anything
            or self.media_type == media_type
            or (subtype == "*" and media_type.startswith(f"{kind}/"))
        )


def accepted(request: Request) -> list[Range]:
    """Return what the client accepts, the best first; anything where it does not say.

    The query parameter `accept` counts before the header (PS3.18 8.3.3.1).
    """
    stated = request.query_params.get("accept") or request.headers.get("accept") or "*/*"
    ranges = (_range(each) for each in _MEMBER.findall(stated[:_LONGEST]))
    taken = [each for each in ranges if each is not None and each.quality > 0]
    return sorted(taken, key=lambda each: -each.quality)


def require_json(request: Request) -> None:
    """Require that the client takes JSON.

    Raises:
        Problem: it does not.
    """
    if not any(
        each.takes(DICOM_JSON) or each.takes("application/json") for each in accepted(request)
    ):
        raise not_acceptable(f"Only {DICOM_JSON} is sent here.")


def not_acceptable(sentence: str) -> Problem:
    """Build the 406 problem."""
    return Problem(HTTPStatus.NOT_ACCEPTABLE, sentence)


def _range(text: str) -> Range | None:
    """Read a member of the list; None of one without a type."""
    media_type, *rest = (each.strip() for each in _PARAMETER.findall(text) or [""])
    if "/" not in media_type:
        return None
    options = dict(_options(rest))
    is_multipart = media_type.lower() == _RELATED
    inner = options.get("type", "*/*") if is_multipart else media_type
    return Range(
        media_type=inner.lower(),
        is_multipart=is_multipart,
        transfer_syntax=options.get("transfer-syntax"),
        is_anything=inner == "*/*",
        quality=_quality(options.get("q", "1")),
    )


def _options(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in parts:
        name, _, value = part.partition("=")
        yield name.strip().lower(), value.strip().strip('"')


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 1.0
