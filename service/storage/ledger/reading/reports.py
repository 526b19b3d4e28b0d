"""Which jobs have a report, for programs that read reports as FHIR resources."""

from dataclasses import dataclass

from sqlalchemy import select

from service.domain.job import Job
from service.domain.routing import OutputKind
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import job_of
from service.storage.ledger.tables import JOBS, OUTPUTS, PATIENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFilter:
    """Which reports are listed; what is None is not asked for."""

    job_id: str | None = None
    report_uid: str | None = None  # the SOP Instance UID of the report
    study_instance_uid: str | None = None
    patient_id: str | None = None
    accession_number: str | None = None


class Reports:
    """The jobs with a report in the outbox: the latest one of each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, wanted: ReportFilter, limit: int, offset: int = 0) -> list[Job]:
        """List jobs, the one received last first."""
        query = (
            select(JOBS)
            .join(OUTPUTS, (OUTPUTS.c.job_id == JOBS.c.id) & (OUTPUTS.c.kind == OutputKind.SR))
            .outerjoin(PATIENTS, PATIENTS.c.job_id == JOBS.c.id)
            .where(JOBS.c.reported_at.is_not(None), JOBS.c.purged_at.is_(None))
            .order_by(JOBS.c.received_at.desc(), JOBS.c.id)
        )
        for column, value in (
            (JOBS.c.id, wanted.job_id),
            (OUTPUTS.c.sop_instance_uid, wanted.report_uid),
            (JOBS.c.study_instance_uid, wanted.study_instance_uid),
            (PATIENTS.c.patient_id, wanted.patient_id),
            (PATIENTS.c.accession_number, wanted.accession_number),
        ):
            if value is not None:
                query = query.where(column == value)
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query.limit(limit).offset(offset))]
