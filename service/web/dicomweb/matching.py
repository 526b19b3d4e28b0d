"""The query of a search (QIDO-RS): its keys, and whether attributes match them (PS3.18 8.3.4)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from starlette.datastructures import QueryParams

from service.web.dicomweb.json_model import Value
from service.web.problem import Problem

MOST: Final = 500  # results of one response
USUAL: Final = 100
STUDY_KEYS: Final = (
    *("StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy", "ReferringPhysicianName"),
    *("StudyDescription", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyID"),
)
SERIES_KEYS: Final = ("Modality", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription")
INSTANCE_KEYS: Final = ("SOPClassUID", "SOPInstanceUID", "InstanceNumber")
INCLUDED_KEYS: Final = (  # returned beyond those of the tables where `includefield` asks for them
    *("ImageType", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime"),
    *("Manufacturer", "ManufacturerModelName", "InstitutionName", "StationName", "ProtocolName"),
    *("PatientAge", "BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality"),
    *("PatientOrientation", "PresentationIntentType", "PhotometricInterpretation", "BitsStored"),
    *("PixelSpacing", "ImagerPixelSpacing"),
)
_RANGES: Final = frozenset({"DA", "TM"})
_LONGEST: Final = 1024
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")
_FARTHEST: Final = 1_000_000
_TRUE_OR_FALSE: Final = frozenset({"true", "false"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a client searches for, and how much of it is to be returned."""

    keys: Mapping[str, str]  # by tag; none of them blank
    include: frozenset[str]  # tags to return beyond the usual ones
    include_all: bool
    limit: int
    offset: int
    fuzzy: bool

    def matches(self, attributes: Mapping[str, Value]) -> bool:
        """Return whether attributes match every key that they may have."""
        return all(_matches(attributes.get(tag, {}), text) for tag, text in self.keys.items())


def search_of(query: QueryParams, keywords: Sequence[str]) -> Search:
    """Read the query of a search at a level that knows these keys.

    Raises:
        Problem: a key is not known there, or a value cannot be one.
    """
    known = {tag_of(keyword): keyword for keyword in keywords}
    keys: dict[str, str] = {}
    include: set[str] = set()
    plain: dict[str, str] = {}
    for name, value in query.multi_items():
        if len(value) > _LONGEST or "\0" in value:
            raise _bad(f"A value has at most {_LONGEST} characters, and no NUL.")
        if name == "includefield":
            include.update(value.split(","))
        elif name in {"limit", "offset", "fuzzymatching", "accept"}:
            plain[name] = value
        else:
            keys[_known_tag(name, known)] = value
    if plain.get("fuzzymatching", "false") not in _TRUE_OR_FALSE:
        raise _bad("fuzzymatching is true or false.")
    return Search(
        keys={tag: value for tag, value in keys.items() if value},
        include=frozenset(tag_of(each) for each in include if each != "all"),
        include_all="all" in include,
        limit=_number(plain, "limit", USUAL, MOST),
        offset=_number(plain, "offset", 0, _FARTHEST),
        fuzzy=plain.get("fuzzymatching") == "true",
    )


def _known_tag(name: str, known: Mapping[str, str]) -> str:
    tag = tag_of(name)
    if tag not in known:
        raise _bad(f"These keys are known here: {', '.join(sorted(known.values()))}.")
    return tag


def tag_of(name: str) -> str:
    """Return a tag as eight digits, from those or from its keyword; blank for neither."""
    if _TAG.fullmatch(name):
        return name.upper() if keyword_for_tag(int(name, 16)) else ""
    tag = tag_for_keyword(name)
    return "" if tag is None else f"{tag:08X}"


def _number(plain: Mapping[str, str], name: str, usual: int, most: int) -> int:
    text = plain.get(name, str(usual))
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise _bad(f"{name} is a number.")
    return min(int(text), most)


def _bad(sentence: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, sentence)


def _matches(value: Value, wanted: str) -> bool:
    found = [_text(each) for each in value.get("Value", []) if each is not None]
    if value.get("vr") == "UI":  # PS3.4 C.2.2.2.2: a list of UIDs
        return not set(re.split(r"[,\\]", wanted)).isdisjoint(found)
    if value.get("vr") in _RANGES and "-" in wanted:
        begin, _, end = wanted.partition("-")
        return any(_in_range(each, begin, end) for each in found)
    if value.get("vr") == "PN":  # PS3.4 C.2.2.2.1
        return any(matches_wildcards(each.lower(), wanted.lower()) for each in found)
    return any(matches_wildcards(each, wanted) for each in found)


def _text(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    return "=".join(map(str, value.values())) if isinstance(value, dict) else str(value)


def matches_wildcards(text: str, pattern: str) -> bool:
    """Return whether a text matches PS3.4 C.2.2.2.4's wildcards: `*` any characters, `?` one.

    It goes back to the last `*` only, so that no pattern takes more than the product of the
    lengths; a regular expression of a hostile one takes exponential time.
    """
    at, place = 0, 0  # in the text, in the pattern
    star, resume = -1, 0  # the last `*`, and where in the text the characters behind it begin
    while at < len(text):
        letter = pattern[place : place + 1]
        if letter == "*":
            star, resume = place, at
            place += 1
        elif letter in {"?", text[at]}:
            at += 1
            place += 1
        elif star >= 0:
            resume += 1
            at, place = resume, star + 1
        else:
            return False
    return not pattern[place:].strip("*")


def _in_range(found: str, begin: str, end: str) -> bool:
    # a shorter value means all of its time: 10 is from 100000 to 105959
    return (not begin or found[: len(begin)] >= begin) and (not end or found[: len(end)] <= end)
