"""The audit trail: appended to, read, never changed."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, func, insert, select, update

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.storage.ledger.database import Database
from service.storage.ledger.tables import AUDIT, TALLIES

_TALLY: Final = "audited"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which records to list; None and blank leave a condition out."""

    user: str | None = None  # the whole name
    action: Action | None = None
    outcome: AuditOutcome | None = None
    job_id: str | None = None
    patient_id: str | None = None
    since: float | None = None  # seconds since the epoch
    until: float | None = None  # before this moment

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on `AUDIT`."""
        equal = {
            AUDIT.c.user_name: self.user,
            AUDIT.c.action: self.action,
            AUDIT.c.outcome: self.outcome,
            AUDIT.c.job_id: self.job_id,
            AUDIT.c.patient_id: self.patient_id,
        }
        named = [column == str(value) for column, value in equal.items() if value]
        if self.since is not None:
            named.append(AUDIT.c.at >= self.since)
        if self.until is not None:
            named.append(AUDIT.c.at < self.until)
        return named


class AuditTrail:
    """The audit trail; triggers of the database reject every change and deletion."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, record: AuditRecord) -> None:
        """Append a record; durable when this returns.

        The tally's row is written first and thereby locked, so that records become visible in the
        order of their numbers. Otherwise the export could pass over one that is committed late.
        """
        with self._database.write() as connection:
            connection.execute(
                update(TALLIES).where(TALLIES.c.name == _TALLY).values(total=TALLIES.c.total + 1)
            )
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

    def recent(
        self,
        limit: int = 50,
        before: int | None = None,
        where: AuditFilter | None = None,
    ) -> list[AuditRecord]:
        """List up to `limit` records, the newest first.

        Args:
            limit: At most so many.
            before: Only records with a lower number than this.
            where: Only those that pass the filter.
        """
        query = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
        if where is not None:
            query = query.where(*where.conditions())
        if before is not None:
            query = query.where(AUDIT.c.id < before)
        with self._database.read() as connection:
            return [_record_of(row) for row in connection.execute(query)]

    def after(self, number: int, limit: int, where: AuditFilter | None = None) -> list[AuditRecord]:
        """List up to `limit` records with a higher number, the oldest first."""
        query = select(AUDIT).where(AUDIT.c.id > number).order_by(AUDIT.c.id).limit(limit)
        if where is not None:
            query = query.where(*where.conditions())
        with self._database.read() as connection:
            return [_record_of(row) for row in connection.execute(query)]

    def count_after(self, number: int) -> int:
        """Count the records with a higher number."""
        query = select(func.count()).where(AUDIT.c.id > number)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())


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
