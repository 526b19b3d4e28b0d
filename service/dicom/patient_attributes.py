"""Read what a header says of the patient and the study, whatever its texts are encoded in.

Nothing here rejects an instance: what cannot be decoded has replacement characters, and what
cannot be a value is left blank. pydicom's own functions would warn of such values with words of
the header in the message, and take any Python codec for a character set.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Final

from pydicom.charset import (
    CODES_TO_ENCODINGS,
    STAND_ALONE_ENCODINGS,
    default_encoding,
    python_encoding,
)
from pydicom.dataset import Dataset

from service.domain.patient import Patient

_CHARACTER_SET: Final = 0x00080005
_STUDY_DATE: Final = 0x00080020
_ACCESSION_NUMBER: Final = 0x00080050
_MODALITY: Final = 0x00080060
_PATIENT_NAME: Final = 0x00100010
_PATIENT_ID: Final = 0x00100020
_BIRTH_DATE: Final = 0x00100030
_SEX: Final = 0x00100040
_VIEW_POSITION: Final = 0x00185101
PATIENT_TAGS: Final = frozenset(
    {
        *(_CHARACTER_SET, _STUDY_DATE, _ACCESSION_NUMBER, _MODALITY, _PATIENT_NAME),
        *(_PATIENT_ID, _BIRTH_DATE, _SEX, _VIEW_POSITION),
    }
)
"""The elements that `read_patient` reads, of the top level."""
LONGEST_TEXT: Final = 1024  # bytes: a name of three groups of 64 characters, with its escapes

_NAME_LENGTH: Final = 324  # characters, as the ledger keeps them
_ID_LENGTH: Final = 64
_CODE_LENGTH: Final = 16
_TEXT_VRS: Final = frozenset("AE AS CS DA DT LO LT PN SH ST UC UI UN UR UT".split())  # noqa: SIM905 -- reads as PS3.5 6.2

_ESC: Final = b"\x1b"
_PIECES: Final = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
_TWO_BYTES_IN_G0: Final = ("iso2022_jp", "iso2022_jp_2")  # Python's codecs read their escapes
_RESETS: Final = re.compile(rb"[\\^=\t\n\f\r]")  # PS3.5 6.1.2.5.3
_ENCODINGS: Final = {
    re.sub(r"[^A-Z0-9]", "", name.upper()): encoding for name, encoding in python_encoding.items()
} | {"UTF8": "utf-8", "ISO88591": "latin_1"}  # what some writers put there
_ALONE: Final = frozenset(python_encoding[name] for name in STAND_ALONE_ENCODINGS)

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]+")
# marks that turn the direction of the text around them, which would alter the page
_DIRECTION_MARKS: Final = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]+")
_DATE: Final = re.compile(  # PS3.5 6.2; with dots, its predecessor; some write hyphens
    r"(?P<year>\d{4})(?P<between>[.-]?)(?P<month>\d\d)(?P=between)(?P<day>\d\d)", re.ASCII
)


def read_patient(header: Dataset) -> Patient:
    """Read the patient and study of a header whose elements are undecoded; never raises.

    Of several values the first counts, and of a long one its beginning.
    """
    encoding = _encoding(header)
    return Patient(
        patient_name=_text(header, _PATIENT_NAME, encoding, _NAME_LENGTH),
        patient_id=_text(header, _PATIENT_ID, encoding, _ID_LENGTH),
        birth_date=_date(header, _BIRTH_DATE),
        sex=_text(header, _SEX, "", _CODE_LENGTH),
        accession_number=_text(header, _ACCESSION_NUMBER, encoding, _ID_LENGTH),
        study_date=_date(header, _STUDY_DATE),
        modality=_text(header, _MODALITY, "", _CODE_LENGTH),
        view_position=_text(header, _VIEW_POSITION, "", _CODE_LENGTH),
    )


class HeaderTexts:
    """Reads texts of a header whose elements are undecoded, in its character set; never raises."""

    def __init__(self, header: Dataset) -> None:
        self._encoding = _encoding(header)

    def text(self, item: Dataset, tag: int) -> str:
        """Return the text of an element of the header, or of an item in it; blank if there is none.

        Of several values the first counts.
        """
        return _text(item, tag, self._encoding, LONGEST_TEXT)


def _value(header: Dataset, tag: int) -> bytes:
    element = header.get_item(tag, keep_deferred=True)
    if element is None or not isinstance(element.value, bytes):
        return b""
    return element.value if element.VR is None or element.VR in _TEXT_VRS else b""


def _encoding(header: Dataset) -> str:
    """Return the Python encoding of a header's texts; blank if unknown."""
    return _encoding_of(_value(header, _CHARACTER_SET))


@lru_cache(maxsize=64)  # few are in use
def _encoding_of(character_set: bytes) -> str:
    """Return the Python encoding that Specific Character Set begins with; blank if unknown.

    The others are those that an escape may change to (PS3.3 C.12.1.1.2), except that some writers
    put one there that cannot be changed to.
    """
    terms = character_set.decode("ascii", errors="replace").upper().split("\\")
    known = [_ENCODINGS.get(re.sub(r"[^A-Z0-9]", "", term), "") for term in terms]
    alone = next((each for each in known if each in _ALONE), "")
    return alone if known[0] in {"", default_encoding} else known[0]


def _text(header: Dataset, tag: int, encoding: str, length: int) -> str:
    decoded = _decode(_value(header, tag), encoding)
    # not before it is decoded: the second byte of a character may be a backslash
    first = decoded.partition("\\")[0]
    if first.isascii() and first.isprintable():  # most are, and have nothing to remove
        return first.strip()[:length].rstrip()
    clean = _CONTROLS.sub(" ", _DIRECTION_MARKS.sub("", first))
    return clean.strip()[:length].rstrip()


def _decode(value: bytes, first: str) -> str:
    if _ESC not in value or first in _ALONE:
        return _decode_plain(value, first)
    return "".join(_decode_piece(piece, first) for piece in _PIECES.findall(value))


def _decode_plain(value: bytes, encoding: str) -> str:
    """Decode bytes without escapes; without a known character set, as UTF-8 or else Latin-1."""
    if encoding and encoding != default_encoding:
        return value.decode(encoding, errors="replace")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin_1")


def _decode_piece(piece: bytes, first: str) -> str:
    """Decode bytes up to the next escape by the escape before them (PS3.3 tables C.12-3, C.12-4).

    An escape that the character set does not announce is believed nonetheless.
    """
    if not piece.startswith(_ESC):
        return _decode_plain(piece, first)
    length = 4 if piece.startswith((b"\x1b$(", b"\x1b$)")) else 3
    encoding = CODES_TO_ENCODINGS.get(piece[:length], "")
    if encoding in _TWO_BYTES_IN_G0:
        return piece.decode(encoding, errors="replace")
    rest = piece[length:]
    if not encoding or encoding == default_encoding:
        return _decode_plain(rest, first)
    reset = _RESETS.search(rest)
    end = reset.start() if reset else len(rest)
    return rest[:end].decode(encoding, errors="replace") + _decode_plain(rest[end:], first)


def _date(header: Dataset, tag: int) -> str:
    """Return a date as YYYYMMDD; blank where it is none."""
    found = _DATE.fullmatch(_text(header, tag, "", _CODE_LENGTH))
    if found is None:
        return ""
    year, month, day = found["year"], found["month"], found["day"]
    try:
        date(int(year), int(month), int(day))
    except ValueError:  # there is no such day
        return ""
    return year + month + day
