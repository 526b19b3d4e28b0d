"""Write the patient and the study of an instance as people write them."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from service.domain.patient import Patient

_SEXES: Final = {"M": "male", "F": "female", "O": "other"}  # PS3.3 C.7.1.1
_COMPONENTS: Final = 5  # PS3.5 6.2.1: family, given, middle, prefix, suffix
_DATE_DIGITS: Final = 8
_MONTHS, _INFANT_MONTHS = 12, 24


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientHead:
    """The patient and the study in words; blank where the header says nothing."""

    name: str
    patient_id: str
    birth_date: str
    age: str  # at the study
    sex: str
    accession_number: str
    study_date: str
    modality: str
    view_position: str


def patient_head(patient: Patient) -> PatientHead:
    """Return the patient and the study in words."""
    return PatientHead(
        name=person_name(patient.patient_name),
        patient_id=patient.patient_id,
        birth_date=written_date(patient.birth_date),
        age=age_at(patient.birth_date, patient.study_date),
        sex=_SEXES.get(patient.sex, patient.sex),
        accession_number=patient.accession_number,
        study_date=written_date(patient.study_date),
        modality=patient.modality,
        view_position=patient.view_position,
    )


def person_name(text: str) -> str:
    """Write a person's name (PS3.5 6.2.1) for people, other scripts in brackets.

    `Doe^Jane^Mary^Dr^MD` is "Doe, Dr Jane Mary, MD".
    """
    groups = [_in_order(group) for group in text.split("=")]
    first, *others = [group for group in groups if group] or [""]
    return f"{first} ({'; '.join(others)})" if others else first


def _in_order(group: str) -> str:
    parts = [part.strip() for part in group.split("^")]
    family, given, middle, prefix, suffix = (parts + [""] * _COMPONENTS)[:_COMPONENTS]
    first_names = " ".join(part for part in (prefix, given, middle) if part)
    return ", ".join(part for part in (family, first_names, suffix) if part)


def written_date(text: str) -> str:
    """Write a date as 1970-01-31; what is no date stays as it is."""
    found = _date(text)
    return text if found is None else found.isoformat()


def age_at(birth_date: str, study_date: str) -> str:
    """Return the age at a study in years, of infants in months or days; blank if not known."""
    born, then = _date(birth_date), _date(study_date)
    if born is None or then is None or then < born:
        return ""
    months = (then.year - born.year) * _MONTHS + then.month - born.month - (then.day < born.day)
    if not months:
        return _counted((then - born).days, "day")
    if months < _INFANT_MONTHS:
        return _counted(months, "month")
    return _counted(months // _MONTHS, "year")


def study_order(study_date: str, of_this: str) -> str:
    """Return whether a study was `earlier` or `later` than this one; blank if not known."""
    other, this = _date(study_date), _date(of_this)
    if other is None or this is None:
        return ""
    if other == this:
        return "same day"
    return "earlier" if other < this else "later"


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _date(text: str) -> date | None:
    if len(text) != _DATE_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
