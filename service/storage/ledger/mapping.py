"""Read rows of the ledger into the values of `service.domain`, and append events."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, select, update

from service.domain.delivery import Delivery, DeliveryState, OutputRecord, Reference
from service.domain.job import Event, Job, JobState, OtherAbnormality, Revision, Source
from service.domain.reasons import Reason
from service.storage.ledger.clock import Moment
from service.storage.ledger.prepared import PreparedInsert
from service.storage.ledger.tables import DELIVERIES, EVENTS, OUTPUTS, TALLIES, URGENT

DELIVERIES_WITH_OUTPUT: Final[Select[Any]] = select(
    *DELIVERIES.c, OUTPUTS.c.sop_class_uid, OUTPUTS.c.sop_instance_uid
).join(OUTPUTS, (OUTPUTS.c.job_id == DELIVERIES.c.job_id) & (OUTPUTS.c.kind == DELIVERIES.c.kind))
"""The query whose rows `delivery_of` reads."""

_INSERT_EVENT: Final = PreparedInsert(EVENTS, ("job_id", "at", "name", "detail"))


def job_of(row: Row[Any]) -> Job:
    """Read one row of `jobs`."""
    values = dict(row._mapping)  # noqa: SLF001 -- SQLAlchemy's public name begins so
    base, refusal = values.pop("attempt_base"), values.pop("refusal")
    priority = values.pop("priority")
    for name in ("arrived_at", "kept_since", "discarded_at", "promised_at"):
        del values[name]  # of the ledger's own decisions
    other = _other_of(
        values.pop("other_finding"),
        values.pop("other_probability"),
        values.pop("other_operating_point"),
    )
    return Job(
        **{
            **values,
            "source": Source(values["source"]),
            "state": JobState(values["state"]),
            "reason": Reason(values["reason"]) if values["reason"] else None,
            "other": other,
            "not_analysed_reason": Reason(refusal) if refusal else None,
            "tries": values["attempt"] - base,
            "is_urgent": priority == URGENT,
        }
    )


def _other_of(
    finding: str | None, probability: float, operating_point: str
) -> OtherAbnormality | None:
    if finding is None:
        return None
    return OtherAbnormality(
        finding=finding, probability=probability, operating_point=operating_point
    )


def delivery_of(row: Row[Any]) -> Delivery:
    """Read one row of `DELIVERIES_WITH_OUTPUT`."""
    values = dict(row._mapping)  # noqa: SLF001 -- as above
    del values["priority"]  # of the job, which says it
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


def append_event(
    connection: Connection, job_id: str, at: Moment, name: str, **detail: str | float | bool | None
) -> None:
    """Append one event to a job's trace, in the transaction that made the change.

    A detail that is None is left out.
    """
    append_events(connection, [event_row(job_id, at, name, **detail)])


def event_row(
    job_id: str, at: Moment, name: str, **detail: str | float | bool | None
) -> dict[str, Any]:
    """Build a row for `append_events`; a detail that is None is left out."""
    kept = {key: value for key, value in detail.items() if value is not None}
    return {"job_id": job_id, "at": at.wall, "name": name, "detail": kept}


def append_events(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Append events to the traces of several jobs at once, as `append_event` does to one."""
    several = list(rows)
    if several:
        _INSERT_EVENT.run(connection, several)


def append_delivery_event(
    connection: Connection, delivery: Delivery, at: Moment, name: str, **detail: str | None
) -> None:
    """Append one event of a delivery to its job's trace."""
    append_events(connection, [delivery_event_row(delivery, at, name, **detail)])


def delivery_event_row(
    delivery: Delivery, at: Moment, name: str, **detail: str | None
) -> dict[str, Any]:
    """Build a row for `append_events` of one event of a delivery."""
    return event_row(
        delivery.job_id,
        at,
        name,
        kind=delivery.kind,
        destination=delivery.destination,
        attempt=delivery.attempt,
        **detail,
    )


def count(connection: Connection, name: str, by: int = 1) -> None:
    """Increase a tally, in the transaction that made the change."""
    connection.execute(
        update(TALLIES).where(TALLIES.c.name == name).values(total=TALLIES.c.total + by)
    )
