"""What the ledger tells whoever asks: one job, many, how the whole stands. It writes nothing."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Integer, Row, Select, func, or_, select

from service.domain.delivery import ON_ITS_WAY, Delivery, DeliveryState, OutputRecord
from service.domain.job import Event, Job, JobState, Revision
from service.domain.reasons import Reason
from service.storage.ledger.database import Database
from service.storage.ledger.leasing import WITH_OUTPUT
from service.storage.ledger.mapping import delivery_of, event_of, job_of, output_of, revision_of
from service.storage.ledger.tables import (
    BREAKERS,
    DELIVERIES,
    EVENTS,
    JOBS,
    OUTPUTS,
    REQUESTS,
    REVISIONS,
    TALLIES,
)

SHORTEST_PREFIX: Final = 6
EVERYTHING: Final = 1_000_000  # more jobs than anybody names at once


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """How many jobs stand where, on one snapshot."""

    received: int  # since the ledger began
    forgotten: int  # removed by retention after they had ended
    by_state: dict[JobState, int]
    parked_by_reason: dict[Reason, int]

    @property
    def in_flight(self) -> int:
        """Jobs that are still owed an outcome without a person's help."""
        return self.by_state[JobState.RECEIVED] + self.by_state[JobState.REPORTED]

    @property
    def balance(self) -> int:
        """What promise 2 says is zero: received less everything that can be accounted for."""
        ended = (JobState.DELIVERED, JobState.NOT_ANALYSED, JobState.PARKED)
        accounted = sum(self.by_state[state] for state in ended) + self.in_flight
        return self.received - self.forgotten - accounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is due now and since when (seconds since the epoch)."""

    infer: int
    deliver: dict[str, int]  # by destination, those with an open breaker left out
    commit: dict[str, int]  # the same of what a destination is to be asked to commit itself to
    answer: int  # senders that are to be told what we commit ourselves to
    oldest_infer_at: float | None
    oldest_deliver_at: dict[str, float]  # by destination, breaker or not
    oldest_commit_at: dict[str, float]  # the same of what is stored and not committed
    oldest_answer_at: float | None


class Queries:
    """Questions to the ledger."""

    def __init__(self, store: Database, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def job(self, job_id: str) -> Job | None:
        """Give one job by its id."""
        return next(iter(self._jobs(select(JOBS).where(JOBS.c.id == job_id))), None)

    def recent(
        self, limit: int = 50, before: float | None = None, state: JobState | None = None
    ) -> list[Job]:
        """List the newest jobs first, received before a moment if one is given."""
        query = select(JOBS).order_by(JOBS.c.received_at.desc(), JOBS.c.id).limit(limit)
        if before is not None:
            query = query.where(JOBS.c.received_at < before)
        if state is not None:
            query = query.where(JOBS.c.state == state)
        return self._jobs(query)

    def parked(self, reason: Reason | None) -> list[Job]:
        """List all that are parked, for one reason if one is given, the oldest first."""
        query = select(JOBS).where(JOBS.c.state == JobState.PARKED).order_by(JOBS.c.received_at)
        if reason is not None:
            query = query.where(JOBS.c.reason == reason)
        return self._jobs(query)

    def find(self, text: str, limit: int = 50) -> list[Job]:
        """Find jobs by id or its beginning, or by the UID of instance, series, study or report."""
        named = [
            JOBS.c.sop_instance_uid == text,
            JOBS.c.series_instance_uid == text,
            JOBS.c.study_instance_uid == text,
            JOBS.c.id == text,
            JOBS.c.id.in_(select(OUTPUTS.c.job_id).where(OUTPUTS.c.sop_instance_uid == text)),
            JOBS.c.id.in_(select(REVISIONS.c.job_id).where(REVISIONS.c.sop_instance_uid == text)),
            JOBS.c.id.in_(
                select(DELIVERIES.c.job_id).where(DELIVERIES.c.sent_sop_instance_uid == text)
            ),
        ]
        if len(text) >= SHORTEST_PREFIX and set(text) <= set("0123456789abcdef"):
            named.append(JOBS.c.id.startswith(text))
        query = select(JOBS).where(or_(*named)).order_by(JOBS.c.received_at.desc(), JOBS.c.id)
        return self._jobs(query.limit(limit))

    def trace(self, job_id: str) -> list[Event]:
        """List everything that happened to a job, the first first."""
        query = select(EVENTS).where(EVENTS.c.job_id == job_id).order_by(EVENTS.c.id)
        with self._store.read() as connection:
            return [event_of(row) for row in connection.execute(query)]

    def deliveries(self, job_id: str) -> list[Delivery]:
        """List what a job owes or has sent to whom."""
        query = WITH_OUTPUT.where(DELIVERIES.c.job_id == job_id).order_by(DELIVERIES.c.id)
        with self._store.read() as connection:
            return [delivery_of(row) for row in connection.execute(query)]

    def outputs(self, job_id: str) -> list[OutputRecord]:
        """List the objects made for a job."""
        query = select(OUTPUTS).where(OUTPUTS.c.job_id == job_id).order_by(OUTPUTS.c.kind)
        with self._store.read() as connection:
            return [output_of(row) for row in connection.execute(query)]

    def revisions(self, job: Job) -> list[Revision]:
        """List the reports made about a job's SOP Instance UID, the first first.

        They are the job's own, and those of jobs received before it that hold other bytes of the
        same name: what came later corrects it, and is not for it to follow.
        """
        query = (
            select(REVISIONS)
            .join(JOBS, JOBS.c.id == REVISIONS.c.job_id)
            .where(
                JOBS.c.sop_instance_uid == job.sop_instance_uid,
                or_(JOBS.c.id == job.id, JOBS.c.received_at < job.received_at),
            )
            .order_by(REVISIONS.c.id)
        )
        with self._store.read() as connection:
            return [revision_of(row) for row in connection.execute(query)]

    def job_counts(self) -> JobCounts:
        """Count the jobs by where they stand."""
        with self._store.read() as connection:
            totals = {row.name: row.total for row in connection.execute(select(TALLIES))}
            rows = connection.execute(select(JOBS.c.state, func.count()).group_by(JOBS.c.state))
            states = {JobState(state): int(n) for state, n in rows}
            parked = connection.execute(
                select(JOBS.c.reason, func.count())
                .where(JOBS.c.state == JobState.PARKED)
                .group_by(JOBS.c.reason)
            )
            return JobCounts(
                received=totals["received"],
                forgotten=totals["forgotten"],
                by_state={state: states.get(state, 0) for state in JobState},
                parked_by_reason={Reason(reason): int(n) for reason, n in parked},
            )

    def delivery_counts(self) -> dict[tuple[str, DeliveryState], int]:
        """Count the deliveries by destination and state."""
        query = select(DELIVERIES.c.destination, DELIVERIES.c.state, func.count()).group_by(
            DELIVERIES.c.destination, DELIVERIES.c.state
        )
        with self._store.read() as connection:
            rows = connection.execute(query)
            return {(name, DeliveryState(state)): int(n) for name, state, n in rows}

    def due(self) -> Due:
        """Say what is due now: what the relay rings for, and what an operator watches."""
        now = self._clock()
        with self._store.read() as connection:
            infer = connection.execute(
                select(func.count(), func.min(JOBS.c.due_at)).where(
                    JOBS.c.state == JobState.RECEIVED, JOBS.c.due_at <= now
                )
            ).one()
            waiting = connection.execute(_waiting(now)).all()
            answer = connection.execute(
                select(
                    func.coalesce(func.sum((REQUESTS.c.due_at <= now).cast(Integer)), 0),
                    func.min(REQUESTS.c.since),
                )
            ).one()
            held = set(
                connection.execute(
                    select(BREAKERS.c.destination).where(BREAKERS.c.open_until > now)
                ).scalars()
            )
        return Due(
            infer=infer[0],
            deliver=_due_now(waiting, DeliveryState.PENDING, held),
            commit=_due_now(waiting, DeliveryState.STORED, held),
            answer=int(answer[0]),
            oldest_infer_at=infer[1],
            oldest_deliver_at=_oldest(waiting, DeliveryState.PENDING),
            oldest_commit_at=_oldest(waiting, DeliveryState.STORED),
            oldest_answer_at=answer[1],
        )

    def _jobs(self, query: Select[Any]) -> list[Job]:
        with self._store.read() as connection:
            return [job_of(row) for row in connection.execute(query)]


def _waiting(now: float) -> Select[Any]:
    """Give per destination and state: how many are due, and since when the oldest has waited."""
    due = func.sum((DELIVERIES.c.due_at <= now).cast(Integer)).label("due")
    return (
        select(
            DELIVERIES.c.destination,
            DELIVERIES.c.state,
            due,
            func.min(DELIVERIES.c.since).label("since"),
        )
        .where(DELIVERIES.c.state.in_(ON_ITS_WAY))
        .group_by(DELIVERIES.c.destination, DELIVERIES.c.state)
    )


def _due_now(
    waiting: Sequence[Row[Any]], state: DeliveryState, held: Collection[str]
) -> dict[str, int]:
    return {
        row.destination: int(row.due)
        for row in waiting
        if row.state == state and row.due and row.destination not in held
    }


def _oldest(waiting: Sequence[Row[Any]], state: DeliveryState) -> dict[str, float]:
    return {row.destination: row.since for row in waiting if row.state == state}
