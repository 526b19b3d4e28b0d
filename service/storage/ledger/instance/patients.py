"""The patient and study of each job, which people find it by."""

from dataclasses import asdict, fields
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select

from service.domain.patient import Patient
from service.domain.patient_search import words_of
from service.storage.ledger.database import Database
from service.storage.ledger.tables import PATIENT_WORDS, PATIENTS

_FIELDS: Final = tuple(field.name for field in fields(Patient))


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


def record_patient(connection: Connection, job_id: str, patient: Patient) -> None:
    """Record the patient of a new job, in the caller's transaction."""
    connection.execute(insert(PATIENTS).values(job_id=job_id, **asdict(patient)))
    words = [
        {"job_id": job_id, "kind": kind, "word": word} for kind, word in sorted(words_of(patient))
    ]
    if words:
        connection.execute(insert(PATIENT_WORDS), words)


def patient_of(row: Row[Any]) -> Patient:
    """Read the patient's columns of a row."""
    mapping = row._mapping  # noqa: SLF001 -- SQLAlchemy's public name begins so
    return Patient(**{name: mapping[PATIENTS.c[name]] for name in _FIELDS})
