"""Read-only queries: jobs, their traces and deliveries, totals, due work."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Integer, Row, Select, func, or_, select

from service.domain.delivery import IN_FLIGHT, Delivery, DeliveryState, OutputRecord
from service.domain.job import Event, Job, JobState, Revision
from service.domain.reasons import Reason
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import (
    DELIVERIES_WITH_OUTPUT,
    delivery_of,
    event_of,
    job_of,
    output_of,
    revision_of,
)
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
EVERYTHING: Final = 1_000_000  # a limit that is never reached


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedFilter:
    """Which parked jobs are meant; what is None is not asked for."""

    reason: Reason | None = None
    before: float | None = None  # received before this moment, seconds since the epoch
    calling_ae_title: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of a query on `jobs`."""
        wanted = [JOBS.c.state == JobState.PARKED]
        if self.reason is not None:
            wanted.append(JOBS.c.reason == self.reason)
        if self.before is not None:
            wanted.append(JOBS.c.received_at < self.before)
        if self.calling_ae_title is not None:
            wanted.append(JOBS.c.calling_ae_title == self.calling_ae_title)
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCounts:
    """The numbers of jobs, taken from one snapshot."""

    received: int  # since the ledger began
    forgotten: int  # finished, then deleted by retention
    by_state: dict[JobState, int]
    parked_by_reason: dict[Reason, int]

    @property
    def in_flight(self) -> int:
        """Jobs that will finish without a person's help."""
        return self.by_state[JobState.RECEIVED] + self.by_state[JobState.REPORTED]

    @property
    def balance(self) -> int:
        """Received jobs less all that are accounted for; always 0."""
        settled = (
            *(JobState.DELIVERED, JobState.NOT_ANALYSED),
            *(JobState.PARKED, JobState.DISMISSED),
        )
        accounted = sum(self.by_state[state] for state in settled) + self.in_flight
        return self.received - self.forgotten - accounted


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The work due now, and since when the oldest work waits (seconds since the epoch)."""

    infer: int
    deliver: dict[
        str, int
    ]  # deliveries to send by destination, without those whose breaker is open
    commit: dict[str, int]  # the same of deliveries whose commitment is to be requested
    answer: int  # commitment results to report to senders
    oldest_infer_at: float | None
    oldest_deliver_at: dict[str, float]  # by destination, also with an open breaker
    oldest_commit_at: dict[str, float]  # the same of deliveries stored and not committed
    oldest_answer_at: float | None


class Queries:
    """Read-only queries on consistent snapshots of the ledger."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def job(self, job_id: str) -> Job | None:
        """Return one job by its id."""
        return next(iter(self._jobs(select(JOBS).where(JOBS.c.id == job_id))), None)

    def recent(
        self, limit: int = 50, before: float | None = None, state: JobState | None = None
    ) -> list[Job]:
        """List up to `limit` jobs, the newest first.

        Args:
            limit: At most so many.
            before: Only jobs received before this moment, seconds since the epoch.
            state: Only jobs in this state.
        """
        query = select(JOBS).order_by(JOBS.c.received_at.desc(), JOBS.c.id).limit(limit)
        if before is not None:
            query = query.where(JOBS.c.received_at < before)
        if state is not None:
            query = query.where(JOBS.c.state == state)
        return self._jobs(query)

    def parked(self, reason: Reason | None, before: float | None = None) -> list[Job]:
        """List the parked jobs, the oldest first.

        Args:
            reason: Only those parked for this reason.
            before: Only those received before this moment, seconds since the epoch.
        """
        wanted = ParkedFilter(reason=reason, before=before)
        return self._jobs(select(JOBS).where(*wanted.conditions()).order_by(JOBS.c.received_at))

    def parked_count(self, wanted: ParkedFilter) -> int:
        """Count the parked jobs that pass a filter."""
        query = select(func.count()).select_from(JOBS).where(*wanted.conditions())
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def find(self, text: str, limit: int = 50) -> list[Job]:
        """Find jobs by id or its beginning, or by a UID: instance, series, study or report."""
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
        """List a job's events, the oldest first."""
        query = select(EVENTS).where(EVENTS.c.job_id == job_id).order_by(EVENTS.c.id)
        with self._database.read() as connection:
            return [event_of(row) for row in connection.execute(query)]

    def deliveries(self, job_id: str) -> list[Delivery]:
        """List a job's deliveries."""
        query = DELIVERIES_WITH_OUTPUT.where(DELIVERIES.c.job_id == job_id).order_by(
            DELIVERIES.c.id
        )
        with self._database.read() as connection:
            return [delivery_of(row) for row in connection.execute(query)]

    def outputs(self, job_id: str) -> list[OutputRecord]:
        """List a job's outputs."""
        query = select(OUTPUTS).where(OUTPUTS.c.job_id == job_id).order_by(OUTPUTS.c.kind)
        with self._database.read() as connection:
            return [output_of(row) for row in connection.execute(query)]

    def revisions(self, job: Job) -> list[Revision]:
        """List the reports that a new report of a job replaces, the oldest first.

        These are the job's own reports, and those of jobs received before it with the same SOP
        Instance UID and other bytes. Jobs received later correct this one and are left out.
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
        with self._database.read() as connection:
            return [revision_of(row) for row in connection.execute(query)]

    def job_counts(self) -> JobCounts:
        """Count the jobs by state, and the parked ones by reason."""
        with self._database.read() as connection:
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
        with self._database.read() as connection:
            rows = connection.execute(query)
            return {(name, DeliveryState(state)): int(n) for name, state, n in rows}

    def due(self) -> Due:
        """Return the work due now: what the relay notifies workers of and operators monitor."""
        now = self._clock()
        with self._database.read() as connection:
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
            paused = set(
                connection.execute(
                    select(BREAKERS.c.name).where(BREAKERS.c.open_until > now)
                ).scalars()
            )
        return Due(
            infer=infer[0],
            deliver=_due_now(waiting, DeliveryState.PENDING, paused),
            commit=_due_now(waiting, DeliveryState.STORED, paused),
            answer=int(answer[0]),
            oldest_infer_at=infer[1],
            oldest_deliver_at=_oldest(waiting, DeliveryState.PENDING),
            oldest_commit_at=_oldest(waiting, DeliveryState.STORED),
            oldest_answer_at=answer[1],
        )

    def _jobs(self, query: Select[Any]) -> list[Job]:
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]


def _waiting(now: float) -> Select[Any]:
    """Select by destination and state: how many are due, and since when the oldest waits."""
    due = func.sum((DELIVERIES.c.due_at <= now).cast(Integer)).label("due")
    return (
        select(
            DELIVERIES.c.destination,
            DELIVERIES.c.state,
            due,
            func.min(DELIVERIES.c.since).label("since"),
        )
        .where(DELIVERIES.c.state.in_(IN_FLIGHT))
        .group_by(DELIVERIES.c.destination, DELIVERIES.c.state)
    )


def _due_now(
    waiting: Sequence[Row[Any]], state: DeliveryState, paused: Collection[str]
) -> dict[str, int]:
    return {
        row.destination: int(row.due)
        for row in waiting
        if row.state == state and row.due and row.destination not in paused
    }


def _oldest(waiting: Sequence[Row[Any]], state: DeliveryState) -> dict[str, float]:
    return {row.destination: row.since for row in waiting if row.state == state}
