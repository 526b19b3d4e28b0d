"""Plan the deliveries of a reported job, and close the job when all have finished.

The functions are parts of larger transactions. Their statements are built once, because building
them takes longer than executing them.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, String, bindparam, delete, insert, select, update

from service.domain.delivery import IN_FLIGHT, DeliveryState
from service.domain.job import JobState, Revision
from service.domain.reasons import Reason
from service.storage.ledger.clock import Moment
from service.storage.ledger.mapping import append_event
from service.storage.ledger.tables import DELIVERIES, JOBS, OUTPUTS, REVISIONS, TRANSACTIONS

_OF_JOB: Final = bindparam("of_job", type_=String)
_DROP_DELIVERIES: Final = delete(DELIVERIES).where(
    DELIVERIES.c.job_id == _OF_JOB,
    DELIVERIES.c.kind.in_(
        select(OUTPUTS.c.kind).where(
            OUTPUTS.c.job_id == _OF_JOB,
            OUTPUTS.c.sop_instance_uid.not_in(bindparam("unchanged", expanding=True)),
        )
    ),
)
_DROP_OUTPUTS: Final = delete(OUTPUTS).where(OUTPUTS.c.job_id == _OF_JOB)
_DELIVERIES: Final = select(
    *(DELIVERIES.c.id, DELIVERIES.c.kind, DELIVERIES.c.destination),
    *(DELIVERIES.c.state, DELIVERIES.c.reason),
).where(DELIVERIES.c.job_id == _OF_JOB)
_REVISION: Final = select(REVISIONS.c.id).where(
    REVISIONS.c.job_id == _OF_JOB, REVISIONS.c.sop_instance_uid == bindparam("of_report")
)
_INSERT_REVISION: Final = insert(REVISIONS)
_PRIORITY: Final = select(JOBS.c.priority).where(JOBS.c.id == _OF_JOB)
_INSERT_DELIVERIES: Final = insert(DELIVERIES)
_LOCK_JOB: Final = (
    select(JOBS.c.state, JOBS.c.refusal).where(JOBS.c.id == _OF_JOB).with_for_update(key_share=True)
)
_CLOSE_JOB: Final = (
    update(JOBS)
    .where(JOBS.c.id == _OF_JOB)
    .values(
        state=bindparam("to_state"),
        reason=bindparam("to_reason"),
        finished_at=bindparam("at"),
        kept_since=bindparam("since"),
    )
)
_FORGET_TRANSACTIONS: Final = delete(TRANSACTIONS).where(
    TRANSACTIONS.c.delivery_id.in_(bindparam("ids", expanding=True))
)


def drop_outputs(connection: Connection, job_id: str, *, but: Sequence[str]) -> None:
    """Delete a job's earlier outputs, and the deliveries of those that changed.

    An output whose SOP Instance UID is in `but` is unchanged: where it was delivered, it stays so.
    """
    connection.execute(_DROP_DELIVERIES, {"of_job": job_id, "unchanged": list(but)})
    connection.execute(_DROP_OUTPUTS, {"of_job": job_id})


def record_revision(connection: Connection, revision: Revision) -> None:
    """Record a report's identity for the revisions that replace it; safe to repeat."""
    identity = {"of_job": revision.job_id, "of_report": revision.sop_instance_uid}
    if connection.execute(_REVISION, identity).first() is None:
        row = {
            "job_id": revision.job_id,
            "sop_class_uid": revision.sop_class_uid,
            "sop_instance_uid": revision.sop_instance_uid,
            "series_instance_uid": revision.series_instance_uid,
            "follows": revision.predecessor,
            "dated_at": revision.dated_at,
        }
        connection.execute(_INSERT_REVISION, row)


def plan_deliveries(
    connection: Connection,
    job_id: str,
    planned: Sequence[tuple[str, str]],
    now: Moment,
    *,
    has_destinations: bool,
) -> None:
    """Create the deliveries of a reported job, and delete unfinished ones that are not planned.

    Parked deliveries that are still planned are pending again; delivered ones stay.

    Args:
        connection: The transaction.
        job_id: The job.
        planned: (kind, destination) of every delivery, in the order of sending.
        now: Both clocks.
        has_destinations: Whether any destination is configured; the job is parked if none is.
    """
    wanted = set(planned)
    standing = {
        (row.kind, row.destination): row
        for row in connection.execute(_DELIVERIES, {"of_job": job_id})
    }
    dropped = [
        row.id
        for pair, row in standing.items()
        if pair not in wanted and row.state != DeliveryState.DELIVERED
    ]
    if dropped:
        connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(dropped)))
    if any(row.state == DeliveryState.PARKED for row in standing.values()):
        connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.job_id == job_id, DELIVERIES.c.state == DeliveryState.PARKED)
            .values(
                state=DeliveryState.PENDING,
                reason=None,
                refusals=0,
                due_at=now.scheduled,
                since=now.scheduled,
                transaction_uid=None,
            )
        )
    priority = connection.execute(_PRIORITY, {"of_job": job_id}).scalar()
    new = [
        {
            "job_id": job_id,
            "kind": kind,
            "destination": name,
            "state": DeliveryState.PENDING,
            "due_at": now.scheduled,
            "since": now.scheduled,
            "priority": priority,
        }
        for kind, name in dict.fromkeys(planned)
        if (kind, name) not in standing
    ]
    if new:
        connection.execute(_INSERT_DELIVERIES, new)
    close_if_finished(connection, job_id, now, has_destinations=has_destinations)


def close_if_finished(
    connection: Connection, job_id: str, now: Moment, *, has_destinations: bool = True
) -> None:
    """Close a reported job when none of its deliveries is in flight any more.

    The job's row is locked first, so that when two workers finish a job's last two deliveries at
    the same moment, the second sees the first. The lock is FOR NO KEY UPDATE: each worker's event
    already holds a key lock on the row, and FOR UPDATE would deadlock on them.
    """
    job = connection.execute(_LOCK_JOB, {"of_job": job_id}).one()
    deliveries = connection.execute(_DELIVERIES, {"of_job": job_id}).all()
    if job.state != JobState.REPORTED or any(each.state in IN_FLIGHT for each in deliveries):
        return
    parked = [each.reason for each in deliveries if each.state == DeliveryState.PARKED]
    if parked or not has_destinations:
        _park(connection, job_id, Reason(parked[0]) if parked else Reason.NO_DESTINATION, now)
        return
    final = JobState.NOT_ANALYSED if job.refusal else JobState.DELIVERED
    closed = {"to_state": final, "to_reason": job.refusal, "at": now.wall, "since": now.scheduled}
    connection.execute(_CLOSE_JOB, {"of_job": job_id, **closed})
    append_event(connection, job_id, now, str(final), reason=job.refusal)


def finished(now: Moment) -> dict[str, float]:
    """Return the columns of a job that say since when it is finished."""
    return {"finished_at": now.wall, "kept_since": now.scheduled}


def dismiss_deliveries(connection: Connection, job_id: str, now: Moment) -> None:
    """Delete the unfinished deliveries of a dismissed job, with an event for each."""
    unfinished = connection.execute(
        delete(DELIVERIES)
        .where(DELIVERIES.c.job_id == job_id, DELIVERIES.c.state != DeliveryState.DELIVERED)
        .returning(DELIVERIES.c.id, DELIVERIES.c.kind, DELIVERIES.c.destination)
    ).all()
    for row in sorted(unfinished, key=lambda row: row.id):
        append_event(
            connection,
            job_id,
            now,
            "output-dismissed",
            kind=row.kind,
            destination=row.destination,
        )


def forget_transactions(connection: Connection, delivery_ids: Sequence[int]) -> None:
    """Delete the commitment transactions of deliveries that await no result any more."""
    connection.execute(_FORGET_TRANSACTIONS, {"ids": list(delivery_ids)})


def _park(connection: Connection, job_id: str, reason: Reason, now: Moment) -> None:
    connection.execute(
        update(JOBS).where(JOBS.c.id == job_id).values(state=JobState.PARKED, reason=reason)
    )
    append_event(connection, job_id, now, str(JobState.PARKED), reason=reason)
