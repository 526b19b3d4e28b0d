"""The patient and study of each job, which people find it by."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from service.domain.patient import Patient
from service.domain.patient_search import words_of
from service.storage.ledger.database import Database
from service.storage.ledger.prepared import PreparedInsert
from service.storage.ledger.tables import PATIENT_WORDS, PATIENTS

_FIELDS: Final = tuple(field.name for field in fields(Patient))
_INSERT: Final = PreparedInsert(PATIENTS, ("job_id", *_FIELDS))
_INSERT_WORDS: Final = PreparedInsert(PATIENT_WORDS, ("job_id", "kind", "word"))


class Patients:
    """The patient and study of each job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, job_id: str) -> Patient | None:
        """Return the patient of a job; None where none was recorded."""
        query = select(PATIENTS).where(PATIENTS.c.job_id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else patient_of(row)


def record_patients(connection: Connection, patients: Mapping[str, Patient]) -> None:
    """Record the patients of new jobs, by their ids, in the caller's transaction."""
    if not patients:
        return
    rows = [{"job_id": job_id, **_columns(each)} for job_id, each in patients.items()]
    _INSERT.run(connection, rows)
    words = [
        {"job_id": job_id, "kind": str(kind), "word": word}
        for job_id, each in patients.items()
        for kind, word in sorted(words_of(each))
    ]
    if words:
        _INSERT_WORDS.run(connection, words)


def _columns(patient: Patient) -> dict[str, str]:
    return {name: getattr(patient, name) for name in _FIELDS}


def patient_of(row: Row[Any]) -> Patient:
    """Read the patient's columns of a row."""
    mapping = row._mapping  # noqa: SLF001 -- SQLAlchemy's public name begins so
    return Patient(**{name: mapping[PATIENTS.c[name]] for name in _FIELDS})
