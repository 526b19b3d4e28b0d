"""What the spool holds of a study: received instances and outputs, for DICOMweb."""

from dataclasses import dataclass

from sqlalchemy import func, or_, select

from service.domain.delivery import OutputRecord
from service.domain.job import Job
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import job_of, output_of
from service.storage.ledger.tables import JOBS, OUTPUTS, PATIENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFilter:
    """Which studies are listed; of a job whose patient was not recorded, all."""

    study_instance_uids: tuple[str, ...] = ()  # any of them; empty: all
    patient_id: str | None = None
    accession_number: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """A job and its outputs."""

    job: Job
    outputs: tuple[OutputRecord, ...]


class Holdings:
    """Studies and what belongs to them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, wanted: StudyFilter, limit: int, offset: int = 0) -> list[str]:
        """List the UIDs of studies with bytes in the spool, the one received last first."""
        latest = func.max(JOBS.c.received_at)
        query = (
            select(JOBS.c.study_instance_uid)
            .outerjoin(PATIENTS, PATIENTS.c.job_id == JOBS.c.id)
            .where(JOBS.c.purged_at.is_(None))
            .group_by(JOBS.c.study_instance_uid)
            .order_by(latest.desc(), JOBS.c.study_instance_uid)
        )
        if wanted.study_instance_uids:
            query = query.where(JOBS.c.study_instance_uid.in_(wanted.study_instance_uids))
        for column, value in (
            (PATIENTS.c.patient_id, wanted.patient_id),
            (PATIENTS.c.accession_number, wanted.accession_number),
        ):
            if value is not None:
                query = query.where(or_(column == value, PATIENTS.c.job_id.is_(None)))
        with self._database.read() as connection:
            return list(connection.execute(query.limit(limit).offset(offset)).scalars())

    def of_study(self, study_instance_uid: str) -> list[Held]:
        """List the jobs of a study with their outputs, the one received last first."""
        jobs = select(JOBS).where(JOBS.c.study_instance_uid == study_instance_uid)
        outputs = (
            select(OUTPUTS)
            .join(JOBS, JOBS.c.id == OUTPUTS.c.job_id)
            .where(JOBS.c.study_instance_uid == study_instance_uid)
            .order_by(OUTPUTS.c.kind)
        )
        with self._database.read() as connection:
            found = [
                job_of(row)
                for row in connection.execute(jobs.order_by(JOBS.c.received_at.desc(), JOBS.c.id))
            ]
            made: dict[str, list[OutputRecord]] = {}
            for row in connection.execute(outputs):
                made.setdefault(row.job_id, []).append(output_of(row))
        return [Held(job, tuple(made.get(job.id, ()))) for job in found]
