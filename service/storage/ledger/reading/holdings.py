"""What the spool holds of a study: received instances and outputs, for DICOMweb."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, exists, func, or_, select

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

    def of_study(
        self,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
        *,
        limit: int,
    ) -> list[Held]:
        """List jobs of a study with bytes in the spool, with their outputs, the latest first.

        Args:
            study_instance_uid: the study.
            series_instance_uid: only the jobs of a series, and those with outputs, whose series
                the ledger does not have.
            sop_instance_uid: only the jobs of an instance, or the ones with it as output; of
                their outputs only this one.
            limit: how many jobs at most.
        """
        jobs = (
            select(JOBS)
            .where(_belongs(study_instance_uid, series_instance_uid, sop_instance_uid))
            .where(JOBS.c.purged_at.is_(None))
            .order_by(JOBS.c.received_at.desc(), JOBS.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            found = [job_of(row) for row in connection.execute(jobs)]
            outputs = (
                select(OUTPUTS)
                .where(OUTPUTS.c.job_id.in_([job.id for job in found]))
                .order_by(OUTPUTS.c.kind)
            )
            if sop_instance_uid is not None:
                outputs = outputs.where(OUTPUTS.c.sop_instance_uid == sop_instance_uid)
            made: dict[str, list[OutputRecord]] = {}
            for row in connection.execute(outputs):
                made.setdefault(row.job_id, []).append(output_of(row))
        return [Held(job, tuple(made.get(job.id, ()))) for job in found]

    def was_purged(
        self,
        study_instance_uid: str,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> bool:
        """Return whether the bytes of a job that `of_study` would list were removed."""
        query = select(
            exists()
            .where(_belongs(study_instance_uid, series_instance_uid, sop_instance_uid))
            .where(JOBS.c.purged_at.is_not(None))
        )
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar_one())


def _belongs(study: str, series: str | None, instance: str | None) -> ColumnElement[bool]:
    of_study = JOBS.c.study_instance_uid == study
    if series is None and instance is None:
        return of_study
    received = of_study
    made = OUTPUTS.c.job_id == JOBS.c.id
    if series is not None:
        received = and_(received, JOBS.c.series_instance_uid == series)
    if instance is not None:
        received = and_(received, JOBS.c.sop_instance_uid == instance)
        made = and_(made, OUTPUTS.c.sop_instance_uid == instance)
    has_made = exists().where(made).correlate(JOBS)
    return and_(of_study, or_(received, has_made))
