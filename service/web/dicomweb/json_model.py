"""Values of data elements in the DICOM JSON model (PS3.18 annex F), from undecoded bytes.

pydicom's own conversion warns with the value in question, which would put text of a patient into
the log, and fails as a whole on one odd value. Here such a value is left out.
"""

import base64
import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_VR

Value = dict[str, Any]  # one attribute of the model: `vr`, and `Value` or the like

LONGEST_INLINE: Final = 1 << 18  # bytes; the largest look-up table has half of that
_TEXT: Final = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_WORDS: Final = frozenset({"AE", "AS", "CS", "DA", "DT", "TM", "UI", "UR"})
_ONE_VALUE: Final = frozenset({"LT", "ST", "UR", "UT"})  # PS3.5 6.4: a backslash is text
_NUMBERS: Final = {
    "US": "H",
    "SS": "h",
    "UL": "I",
    "SL": "i",
    "UV": "Q",
    "SV": "q",
    "FL": "f",
    "FD": "d",
}
_BYTES: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")  # PS3.18 F.2.2
_DELIMITERS: Final = {0x5C, 0x5E, 0x3D, 0x0A, 0x0C, 0x0D, 0x09}  # PS3.5 6.1.2.5.3
_PIXEL_REPRESENTATION_DECIDES: Final = "US"  # small numbers of headers are the same in both


def vr_of(tag: int, stated: bytes | None) -> str:
    """Return the VR of an element: as stated, or that of its tag; UN where neither is one."""
    vr = stated.decode("ascii") if stated else ""
    if vr in _TEXT | _WORDS | _BYTES or vr in _NUMBERS or vr in {"AT", "DS", "IS", "SQ"}:
        return vr
    try:
        found = dictionary_VR(tag)
    except KeyError:
        return "UN"
    if found == "SQ":  # an element with another VR, and no sequence by its bytes
        return "UN"
    return {"US or SS": _PIXEL_REPRESENTATION_DECIDES, "OB or OW": "OW"}.get(found, found[:2])


def encodings_of(specific_character_set: bytes) -> list[str]:
    """Return Python's names of the character sets of a data set; unknown terms are passed over."""
    terms = [each.strip() for each in specific_character_set.decode("ascii", "replace").split("\\")]
    known = [each for each in terms if each in python_encoding]
    return list(convert_encodings(known or [""]))


def attribute(vr: str, value: bytes, encodings: Sequence[str]) -> Value | None:
    """Return an attribute with its value; None where the value cannot be read as its VR."""
    if not value:
        return {"vr": vr}
    if vr in _BYTES:
        if len(value) > LONGEST_INLINE:
            return None
        return {"vr": vr, "InlineBinary": base64.b64encode(value).decode()}
    with suppress(ValueError, struct.error, OverflowError):
        values = _values(vr, value, encodings)
        return (
            {"vr": vr, "Value": values} if any(each is not None for each in values) else {"vr": vr}
        )
    return None


def _values(vr: str, value: bytes, encodings: Sequence[str]) -> list[Any]:
    if vr in _NUMBERS:
        size = struct.calcsize(_NUMBERS[vr])
        numbers = struct.unpack(f"<{len(value) // size}{_NUMBERS[vr]}", value)
        return [each if math.isfinite(each) else None for each in numbers]
    if vr == "AT":
        pairs = struct.unpack(f"<{len(value) // 2}H", value)
        return [f"{g:04X}{n:04X}" for g, n in zip(pairs[::2], pairs[1::2], strict=True)]
    texts = _texts(vr, value, encodings)
    if vr == "PN":
        return [_person(each) for each in texts]
    if vr in {"DS", "IS"}:
        return [_number(vr, each) for each in texts]
    return [each or None for each in texts]


def _texts(vr: str, value: bytes, encodings: Sequence[str]) -> list[str]:
    text = decoded(value, encodings if vr in _TEXT else ("ascii",))
    padding = "\0 " if vr != "UI" else "\0 \t"
    if vr in _ONE_VALUE:
        return [text.rstrip(padding)]
    return [each.strip(padding) for each in text.split("\\")]


def decoded(value: bytes, encodings: Sequence[str]) -> str:
    """Decode a text whatever it holds: bytes that belong to no character are replaced."""
    try:
        return decode_bytes(value, list(encodings), _DELIMITERS)
    except (UnicodeError, LookupError, UserWarning):
        return value.decode(encodings[0], "replace")


def _person(text: str) -> dict[str, str] | None:
    groups = zip(_GROUPS, text.split("="), strict=False)
    return {name: group.strip() for name, group in groups if group.strip()} or None


def _number(vr: str, text: str) -> int | float | None:
    if not text:
        return None
    number = int(text) if vr == "IS" else float(text)
    if not math.isfinite(number):
        raise ValueError("no number of PS3.5 6.2")
    return number
