"""Read the age of a patient from the header of an instance, for the populations of a bundle.

The bundle has the same rules for its own command, in scripts/preprocessing/age.py; a test compares
the two. No clock takes part: an instance has the same age whenever it is analysed.
"""

import re
from collections.abc import Iterator
from datetime import date
from typing import Final

from pydicom.dataset import Dataset

_OLDEST: Final = 130.0  # years; what is more is no age
_YEARS: Final = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_AGE: Final = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,5})?) ?([DWMYdwmy]?)")  # AS is nnnX
_DATE: Final = re.compile(r"([0-9]{4})([-./]?)([0-9]{2})\2([0-9]{2})")  # PS3.5 6.2: YYYY.MM.DD too
_STUDIED: Final = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")


def age_years(header: Dataset) -> float | None:
    """Return a patient's age in years when the radiograph was taken; None where nothing says it.

    Patient's Age counts first (PS3.3 C.7.2.2), then Patient's Birth Date with the first date of
    study, acquisition, series or content that gives an age. A Patient's Age without a unit, as many
    published radiographs have it, counts last, as years.

    Values are read as bytes. pydicom would quote one that it finds odd in a warning.
    """
    return next((age for age in _ages(header) if 0 <= age <= _OLDEST), None)


def _ages(header: Dataset) -> Iterator[float]:
    """Yield the ages that the header gives, plausible or not, the most reliable first."""
    stated = _AGE.fullmatch(_text(header, "PatientAge"))
    if stated and stated[2]:
        yield float(stated[1]) * _YEARS[stated[2].upper()]
    born = _date(_text(header, "PatientBirthDate"))
    for keyword in _STUDIED if born else ():
        taken = _date(_text(header, keyword))
        if born and taken:
            yield _years_between(born, taken)
    if stated and not stated[2]:
        yield float(stated[1])


def _text(header: Dataset, keyword: str) -> str:
    """Return the first value of an element, undecoded and without its padding."""
    value = getattr(header.get_item(keyword, keep_deferred=True), "value", None)
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.split("\\")[0].strip(" \0")


def _date(text: str) -> date | None:
    found = _DATE.fullmatch(text)
    try:
        return date(int(found[1]), int(found[3]), int(found[4])) if found else None
    except ValueError:
        return None


def _years_between(born: date, taken: date) -> float:
    """Return an age that reaches each whole number on the birthday, as people count."""
    is_before_birthday = (taken.month, taken.day) < (born.month, born.day)
    years = taken.year - born.year - is_before_birthday
    return years + (taken - _birthday(born, born.year + years)).days / 366  # less than one


def _birthday(born: date, year: int) -> date:
    try:
        return born.replace(year=max(1, year))
    except ValueError:  # of the 29th of February
        return date(max(1, year), 3, 1)
