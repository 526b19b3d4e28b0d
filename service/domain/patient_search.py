"""Fold names and numbers into words, and what people type into terms that such words begin with.

Case, accents and punctuation do not count: `müller`, `Muller` and `MUELLER` find the same patient.
"""

import re
import unicodedata
from enum import StrEnum
from typing import Final

from service.domain.patient import Patient

LONGEST_WORD: Final = 64  # characters
MOST_TERMS: Final = 8  # more are not asked for
LONGEST_SEARCH: Final = 200  # characters

_SPACES: Final = re.compile(r"[\s^=,;]+")  # those of PS3.5 6.2.1 and of people
_LETTERS: Final = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h"}
    | {"\N{LATIN SMALL LETTER DOTLESS I}": "i"}
)
_DIGRAPHS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})


class MatchKind(StrEnum):
    """What of a patient a word is of. The codes are in the audit trail."""

    NAME = "patient-name"
    PATIENT_ID = "patient-id"
    ACCESSION = "accession-number"


def words_of(patient: Patient) -> set[tuple[MatchKind, str]]:
    """Return the words that a patient and a study are found by."""
    texts = (
        (MatchKind.NAME, patient.patient_name),
        (MatchKind.PATIENT_ID, patient.patient_id),
        (MatchKind.ACCESSION, patient.accession_number),
    )
    return {(kind, word) for kind, text in texts for word in _words(text)}


def terms_of(text: str) -> list[frozenset[str]]:
    """Return the terms of a search: each is a set of spellings, one of which a word begins with.

    What has neither a letter nor a digit is no term.
    """
    terms = [_spellings(term) for term in _SPACES.split(text[:LONGEST_SEARCH])]
    return [frozenset(term) for term in terms if term][:MOST_TERMS]


def _words(text: str) -> set[str]:
    """Return the words of a text: its components, and the later parts of a hyphenated one."""
    components = _SPACES.split(text)
    parts = [part for each in components for part in each.split("-")[1:]]
    return {word for each in (*components, *parts) for word in _spellings(each)}


def _spellings(text: str) -> set[str]:
    """Return the spellings of one word, without accents and with ae for ä; none if it is blank."""
    if text.isascii():  # most are, and nothing that follows changes those but their case
        return {"".join(filter(str.isalnum, text.lower()))[:LONGEST_WORD]} - {""}
    composed = unicodedata.normalize("NFKC", text).casefold()
    return {_fold(composed), _fold(composed.translate(_DIGRAPHS))} - {""}


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_LETTERS)).casefold()
    return "".join(each for each in decomposed if each.isalnum())[:LONGEST_WORD]
