"""The audit trail: appended to, read, never changed."""

from typing import Any

from sqlalchemy import Row, insert, select

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.storage.ledger.database import Database
from service.storage.ledger.tables import AUDIT


class AuditTrail:
    """The audit trail; triggers of the database reject every change and deletion."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, record: AuditRecord) -> None:
        """Append a record; durable when this returns."""
        with self._database.write() as connection:
            connection.execute(
                insert(AUDIT).values(
                    at=record.at,
                    action=str(record.action),
                    outcome=str(record.outcome),
                    user_name=record.user,
                    role=record.role,
                    address=record.address,
                    job_id=record.job_id,
                    study_instance_uid=record.study_instance_uid,
                    sop_instance_uid=record.sop_instance_uid,
                    patient_id=record.patient_id,
                    detail=record.detail,
                )
            )

    def recent(self, limit: int = 50) -> list[AuditRecord]:
        """List up to `limit` records, the newest first."""
        query = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_record_of(row) for row in connection.execute(query)]


def _record_of(row: Row[Any]) -> AuditRecord:
    values = dict(row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name begins so
    user = values.pop("user_name")
    return AuditRecord(
        **{
            **values,
            "user": user,
            "action": Action(values["action"]),
            "outcome": AuditOutcome(values["outcome"]),
        }
    )
