"""What belongs to a job beside its own rows: other jobs, reports and what people did with it."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Select, select

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.domain.job import Event, Job, JobState
from service.domain.patient import Patient
from service.storage.ledger.database import Database
from service.storage.ledger.instance.patients import patient_of
from service.storage.ledger.mapping import event_of, job_of
from service.storage.ledger.tables import AUDIT, EVENTS, JOBS, PATIENTS

MOST: Final = 20
"""So many related jobs are listed."""


class Related:
    """Read-only queries for the page of a job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def corrections(self, job_id: str, limit: int = MOST) -> list[Job]:
        """List the jobs that correct a job, the oldest first."""
        query = select(JOBS).where(JOBS.c.corrects == job_id).order_by(JOBS.c.received_at)
        return self._jobs(query.limit(limit))

    def of_study(self, job: Job, limit: int = MOST) -> list[Job]:
        """List the other jobs of a job's study, the newest first."""
        query = select(JOBS).where(
            JOBS.c.study_instance_uid == job.study_instance_uid, JOBS.c.id != job.id
        )
        return self._jobs(query.order_by(JOBS.c.received_at.desc(), JOBS.c.id).limit(limit))

    def others_of_patient(
        self, job: Job, patient: Patient, limit: int = MOST
    ) -> list[tuple[Job, Patient]]:
        """List what was received of a patient in other studies, by study date, the newest first.

        The Patient ID and the birth date must be the same: two hospitals may give the same ID to
        two people. Without an ID nothing is found. When something was received is no order:
        prior studies are often sent after the current one.
        """
        if not patient.patient_id:
            return []
        query = (
            select(JOBS.c.id, *PATIENTS.c)
            .join(PATIENTS, PATIENTS.c.job_id == JOBS.c.id)
            .where(
                PATIENTS.c.patient_id == patient.patient_id,
                PATIENTS.c.birth_date == patient.birth_date,
                JOBS.c.study_instance_uid != job.study_instance_uid,
            )
            .order_by(PATIENTS.c.study_date.desc(), JOBS.c.received_at.desc(), JOBS.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        jobs = self._by_id([row.id for row in rows])
        return [(jobs[row.id], patient_of(row)) for row in rows if row.id in jobs]

    def reports(self, job_ids: Collection[str]) -> dict[str, Event]:
        """Return the event of each report of these jobs by the report's SOP Instance UID."""
        query = (
            select(EVENTS)
            .where(EVENTS.c.job_id.in_(job_ids), EVENTS.c.name == str(JobState.REPORTED))
            .order_by(EVENTS.c.id)
        )
        with self._database.read() as connection:
            events = [event_of(row) for row in connection.execute(query)]
        return {str(each.detail["report"]): each for each in events if each.detail.get("report")}

    def acts(self, job_id: str, actions: Collection[Action]) -> list[AuditRecord]:
        """List what people did with a job, of these actions, the oldest first."""
        query = (
            select(AUDIT)
            .where(
                AUDIT.c.job_id == job_id,
                AUDIT.c.action.in_([str(each) for each in actions]),
                AUDIT.c.outcome == str(AuditOutcome.SUCCESS),
            )
            .order_by(AUDIT.c.id)
        )
        with self._database.read() as connection:
            return [
                AuditRecord(
                    id=row.id,
                    at=row.at,
                    action=Action(row.action),
                    user=row.user_name,
                    role=row.role,
                    job_id=job_id,
                )
                for row in connection.execute(query)
            ]

    def _by_id(self, job_ids: Sequence[str]) -> dict[str, Job]:
        return {each.id: each for each in self._jobs(select(JOBS).where(JOBS.c.id.in_(job_ids)))}

    def _jobs(self, query: Select[Any]) -> list[Job]:
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]
