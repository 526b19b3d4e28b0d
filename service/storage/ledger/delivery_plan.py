"""What a reported job owes to whom, and when it has been paid: parts of larger transactions."""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, insert, select, update

from service.domain.delivery import ON_ITS_WAY, DeliveryState
from service.domain.job import JobState, Revision
from service.domain.reasons import Reason
from service.storage.ledger.mapping import note
from service.storage.ledger.tables import DELIVERIES, JOBS, OUTPUTS, REVISIONS


def drop_outputs(connection: Connection, job_id: str, *, but: Sequence[str]) -> None:
    """Forget a job's earlier outputs; one that comes out the same stays delivered where it was."""
    changed = select(OUTPUTS.c.kind).where(
        OUTPUTS.c.job_id == job_id, OUTPUTS.c.sop_instance_uid.not_in(but)
    )
    connection.execute(
        delete(DELIVERIES).where(DELIVERIES.c.job_id == job_id, DELIVERIES.c.kind.in_(changed))
    )
    connection.execute(delete(OUTPUTS).where(OUTPUTS.c.job_id == job_id))


def record_revision(connection: Connection, revision: Revision) -> None:
    """Keep a report's name for whatever will follow it; one made again is there already."""
    standing = select(REVISIONS.c.id).where(
        REVISIONS.c.job_id == revision.job_id,
        REVISIONS.c.sop_instance_uid == revision.sop_instance_uid,
    )
    if connection.execute(standing).first() is None:
        connection.execute(
            insert(REVISIONS).values(
                job_id=revision.job_id,
                sop_class_uid=revision.sop_class_uid,
                sop_instance_uid=revision.sop_instance_uid,
                series_instance_uid=revision.series_instance_uid,
                follows=revision.predecessor,
                dated_at=revision.dated_at,
            )
        )


def plan_deliveries(
    connection: Connection,
    job_id: str,
    owed: Sequence[tuple[str, str]],
    now: float,
    *,
    nothing_owed: Reason | None = None,
) -> None:
    """Owe (kind, destination) that was not delivered before; drop what is owed otherwise."""
    wanted = set(owed)
    of_job = DELIVERIES.c.job_id == job_id
    standing = {
        (row.kind, row.destination): row
        for row in connection.execute(
            select(
                DELIVERIES.c.id, DELIVERIES.c.kind, DELIVERIES.c.destination, DELIVERIES.c.state
            ).where(of_job)
        )
    }
    dropped = [
        row.id
        for pair, row in standing.items()
        if pair not in wanted and row.state != DeliveryState.DELIVERED
    ]
    connection.execute(delete(DELIVERIES).where(DELIVERIES.c.id.in_(dropped)))
    connection.execute(
        update(DELIVERIES)
        .where(and_(of_job, DELIVERIES.c.state == DeliveryState.PARKED))
        .values(
            state=DeliveryState.PENDING,
            reason=None,
            refusals=0,
            due_at=now,
            since=now,
            transaction_uid=None,
        )
    )
    for kind, name in dict.fromkeys(owed):  # in the order in which a destination names its outputs
        if (kind, name) in standing:
            continue
        connection.execute(
            insert(DELIVERIES).values(
                job_id=job_id,
                kind=kind,
                destination=name,
                state=DeliveryState.PENDING,
                due_at=now,
                since=now,
            )
        )
    close_if_finished(connection, job_id, now, nothing_owed=nothing_owed)


def close_if_finished(
    connection: Connection, job_id: str, now: float, *, nothing_owed: Reason | None = None
) -> None:
    """Let a reported job end when nothing is on its way any more.

    The job's row is locked first, so that the last two deliveries of a job, settled at the same
    moment by two workers, cannot both miss that they were the last. FOR NO KEY UPDATE: an event of
    either holds the row's key already, and a stronger lock would wait for it crosswise.
    """
    job = connection.execute(
        select(JOBS).where(JOBS.c.id == job_id).with_for_update(key_share=True)
    ).one()
    deliveries = connection.execute(
        select(DELIVERIES.c.state, DELIVERIES.c.reason).where(DELIVERIES.c.job_id == job_id)
    ).all()
    if job.state != JobState.REPORTED or any(each.state in ON_ITS_WAY for each in deliveries):
        return
    parked = [each.reason for each in deliveries if each.state == DeliveryState.PARKED]
    if parked or nothing_owed:
        park_reported(connection, job_id, Reason(parked[0]) if parked else nothing_owed, now)
        return
    ended = JobState.NOT_ANALYSED if job.refusal else JobState.DELIVERED
    connection.execute(
        update(JOBS)
        .where(JOBS.c.id == job_id)
        .values(state=ended, reason=job.refusal, finished_at=now)
    )
    note(connection, job_id, now, str(ended), reason=job.refusal)


def park_reported(connection: Connection, job_id: str, reason: Reason | None, now: float) -> None:
    """Set a reported job aside until a person requeues it."""
    connection.execute(
        update(JOBS).where(JOBS.c.id == job_id).values(state=JobState.PARKED, reason=reason)
    )
    note(connection, job_id, now, str(JobState.PARKED), reason=reason)
