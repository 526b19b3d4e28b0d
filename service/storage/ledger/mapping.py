"""Rows of the ledger as the values that the rest of the house knows."""

from typing import Any

from sqlalchemy import Connection, Row, insert

from service.domain.delivery import Delivery, DeliveryState, OutputRecord, Reference
from service.domain.job import Event, Job, JobState, Revision, Source
from service.domain.reasons import Reason
from service.storage.ledger.tables import EVENTS


class StaleLeaseError(Exception):
    """The lease ran out and somebody else moved on; what was computed must be thrown away."""


def job_of(row: Row[Any]) -> Job:
    """Read one row of `jobs`."""
    values = dict(row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name begins so
    base, refusal = values.pop("attempt_base"), values.pop("refusal")
    return Job(
        **{
            **values,
            "source": Source(values["source"]),
            "state": JobState(values["state"]),
            "reason": Reason(values["reason"]) if values["reason"] else None,
            "not_analysed_reason": Reason(refusal) if refusal else None,
            "tries": values["attempt"] - base,
        }
    )


def delivery_of(row: Row[Any]) -> Delivery:
    """Read one row of `deliveries` joined with its output."""
    values = dict(row._mapping)  # noqa: SLF001 -- as above
    sop_class_uid, sop_instance_uid = (
        values.pop("sent_sop_class_uid"),
        values.pop("sent_sop_instance_uid"),
    )
    return Delivery(
        **{
            **values,
            "sent": Reference(sop_class_uid, sop_instance_uid) if sop_instance_uid else None,
            "state": DeliveryState(values["state"]),
            "reason": Reason(values["reason"]) if values["reason"] else None,
        }
    )


def output_of(row: Row[Any]) -> OutputRecord:
    """Read one row of `outputs`."""
    return OutputRecord(
        kind=row.kind, sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid
    )


def revision_of(row: Row[Any]) -> Revision:
    """Read one row of `revisions`."""
    values = dict(row._mapping)  # noqa: SLF001 -- as above
    predecessor = values.pop("follows")
    return Revision(**values, predecessor=predecessor)


def event_of(row: Row[Any]) -> Event:
    """Read one row of `events`."""
    return Event(at=row.at, name=row.name, detail=row.detail)


def note(
    connection: Connection, job_id: str, at: float, name: str, **detail: str | float | bool | None
) -> None:
    """Append one event to a job's trace, in the transaction of what it tells."""
    kept = {key: value for key, value in detail.items() if value is not None}
    connection.execute(insert(EVENTS).values(job_id=job_id, at=at, name=name, detail=kept))
