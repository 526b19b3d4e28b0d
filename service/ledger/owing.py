"""What a reported job owes to whom, and when it has been paid: parts of larger transactions."""

import itertools
from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from service.job import DeliveryState, JobState
from service.ledger.rows import note
from service.ledger.tables import DELIVERIES, JOBS, OUTPUTS
from service.reasons import Reason


def drop_outputs(connection: Connection, job_id: str, *, but: Sequence[str]) -> None:
    """Forget a job's earlier outputs; one that comes out the same stays delivered where it was."""
    changed = select(OUTPUTS.c.kind).where(
        OUTPUTS.c.job_id == job_id, OUTPUTS.c.sop_instance_uid.not_in(but)
    )
    connection.execute(
        delete(DELIVERIES).where(DELIVERIES.c.job_id == job_id, DELIVERIES.c.kind.in_(changed))
    )
    connection.execute(delete(OUTPUTS).where(OUTPUTS.c.job_id == job_id))


def owe_again(
    connection: Connection, job_id: str, kinds: Sequence[str], names: Sequence[str], now: float
) -> None:
    """Owe what was not delivered to the destinations of today; drop what is owed to others."""
    of_job = DELIVERIES.c.job_id == job_id
    connection.execute(
        delete(DELIVERIES).where(
            of_job,
            DELIVERIES.c.state != DeliveryState.DELIVERED,
            or_(DELIVERIES.c.destination.not_in(names), DELIVERIES.c.kind.not_in(kinds)),
        )
    )
    connection.execute(
        update(DELIVERIES)
        .where(and_(of_job, DELIVERIES.c.state == DeliveryState.PARKED))
        .values(state=DeliveryState.PENDING, reason=None, refusals=0, due_at=now, since=now)
    )
    standing = {
        (row.kind, row.destination)
        for row in connection.execute(
            select(DELIVERIES.c.kind, DELIVERIES.c.destination).where(of_job)
        )
    }
    for kind, name in itertools.product(kinds, names):
        if (kind, name) not in standing:
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
    settle(connection, job_id, now, nothing_owed=Reason.NO_DESTINATION if not names else None)


def settle(
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
    if job.state != JobState.REPORTED or any(
        each.state == DeliveryState.PENDING for each in deliveries
    ):
        return
    parked = [each.reason for each in deliveries if each.state == DeliveryState.PARKED]
    if parked or nothing_owed:
        park_reported(connection, job_id, Reason(parked[0]) if parked else nothing_owed, now)
        return
    connection.execute(
        update(JOBS).where(JOBS.c.id == job_id).values(state=JobState.DELIVERED, finished_at=now)
    )
    note(connection, job_id, now, str(JobState.DELIVERED))


def park_reported(connection: Connection, job_id: str, reason: Reason | None, now: float) -> None:
    """Set a reported job aside until a person requeues it."""
    connection.execute(
        update(JOBS).where(JOBS.c.id == job_id).values(state=JobState.PARKED, reason=reason)
    )
    note(connection, job_id, now, str(JobState.PARKED), reason=reason)
