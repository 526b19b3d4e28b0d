"""Read-only queries: jobs, their traces and deliveries, totals, due work."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Row,
    ScalarSelect,
    Select,
    String,
    bindparam,
    func,
    or_,
    select,
    union,
)

from service.domain.delivery import Delivery, DeliveryState, OutputRecord
from service.domain.job import Event, Job, JobState, Revision
from service.domain.queues import COMMITMENTS, DELIVER, INFER
from service.domain.reasons import Reason
from service.storage.ledger.clock import Clock
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
from service.storage.ledger.tallies import numbers
from service.storage.ledger.work.deliveries import in_flight_destinations

SHORTEST_PREFIX: Final = 6
_ID_DIGITS: Final = 32
_UIDS: Final = ("sop_instance_uid", "series_instance_uid", "study_instance_uid")
_STATES: Final = (DeliveryState.PENDING, DeliveryState.STORED)
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


# built once: building them takes longer than executing them
_OF_JOB: Final = bindparam("of_job", type_=String)
_JOB: Final = select(JOBS).where(JOBS.c.id == _OF_JOB)
_STUDIES: Final = select(JOBS.c.id, JOBS.c.study_instance_uid).where(
    JOBS.c.id.in_(bindparam("of_jobs", expanding=True))
)
_THIS: Final = JOBS.alias()
_REVISIONS: Final = (
    select(REVISIONS)
    .join(JOBS, JOBS.c.id == REVISIONS.c.job_id)
    .where(
        JOBS.c.sop_instance_uid == bindparam("of_source", type_=String),
        or_(
            JOBS.c.id == _OF_JOB,
            JOBS.c.arrived_at
            < select(_THIS.c.arrived_at).where(_THIS.c.id == _OF_JOB).scalar_subquery(),
        ),
    )
    .order_by(REVISIONS.c.id)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The work due now, and since when the oldest work waits (by the scheduling clock)."""

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

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def job(self, job_id: str) -> Job | None:
        """Return one job by its id."""
        with self._database.read() as connection:
            row = connection.execute(_JOB, {"of_job": job_id}).first()
        return None if row is None else job_of(row)

    def studies(self, job_ids: Collection[str]) -> dict[str, str]:
        """Return the Study Instance UIDs of jobs by their ids; one that is unknown is left out."""
        with self._database.read() as connection:
            rows = connection.execute(_STUDIES, {"of_jobs": list(job_ids)})
            return {row.id: row.study_instance_uid for row in rows}

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
            select(JOBS.c.id).where(JOBS.c.id == text),
            *(select(JOBS.c.id).where(JOBS.c[name] == text) for name in _UIDS),
            select(OUTPUTS.c.job_id).where(OUTPUTS.c.sop_instance_uid == text),
            select(REVISIONS.c.job_id).where(REVISIONS.c.sop_instance_uid == text),
            select(DELIVERIES.c.job_id).where(DELIVERIES.c.sent_sop_instance_uid == text),
        ]
        if SHORTEST_PREFIX <= len(text) < _ID_DIGITS and set(text) <= set("0123456789abcdef"):
            # a range, which every index can find; in any collation "f" is the last digit
            last = text.ljust(_ID_DIGITS, "f")
            named.append(select(JOBS.c.id).where(JOBS.c.id.between(text, last)))
        ids = union(*named).subquery()
        query = select(JOBS).join(ids, JOBS.c.id == ids.c.id)
        query = query.order_by(JOBS.c.received_at.desc(), JOBS.c.id)
        return self._jobs(query.limit(limit))

    def trace(self, job_id: str) -> list[Event]:
        """List a job's events, the oldest first; all repeats of its receipt are one."""
        query = select(EVENTS).where(EVENTS.c.job_id == job_id).order_by(EVENTS.c.id)
        repeated = select(JOBS.c.repeats, JOBS.c.last_repeated_at).where(
            JOBS.c.id == job_id, JOBS.c.repeats > 0
        )
        with self._database.read() as connection:
            events = [event_of(row) for row in connection.execute(query)]
            repeats = connection.execute(repeated).one_or_none()
        return events if repeats is None else _with_repeats(events, *repeats)

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
        given = {"of_job": job.id, "of_source": job.sop_instance_uid}
        with self._database.read() as connection:
            return [revision_of(row) for row in connection.execute(_REVISIONS, given)]

    def job_counts(self) -> JobCounts:
        """Count the jobs by state, and the parked ones by reason."""
        with self._database.read() as connection:
            received = numbers(connection, "received").get(("", ""), 0)
            forgotten = connection.execute(
                select(TALLIES.c.total).where(TALLIES.c.name == "forgotten")
            ).scalar_one()
            jobs = numbers(connection, "jobs")
        by_state = dict.fromkeys(JobState, 0)
        for (state, _), number in jobs.items():
            by_state[JobState(state)] += number
        return JobCounts(
            received=received,
            forgotten=int(forgotten),
            by_state=by_state,
            parked_by_reason={
                Reason(reason): number
                for (state, reason), number in sorted(jobs.items())
                if state == JobState.PARKED
            },
        )

    def delivery_counts(self) -> dict[tuple[str, DeliveryState], int]:
        """Count the deliveries by destination and state."""
        with self._database.read() as connection:
            counted = numbers(connection, "deliveries")
        return {(name, DeliveryState(state)): number for (state, name), number in counted.items()}

    def queues(self) -> list[tuple[str, ...]]:
        """List the queues with due work, as a notification names them.

        It reads one row of each, not the tallies: whatever is due is found.
        """
        now = self._clock().scheduled
        with self._database.read() as connection:
            found: list[tuple[str, ...]] = []
            if _is_any_due(connection, JOBS.c.due_at, now):
                found.append((INFER,))
            reachable = set(in_flight_destinations(connection)) - _paused(connection, now)
            found.extend(
                (DELIVER, name)
                for name in sorted(reachable)
                if any(
                    _is_any_due(connection, DELIVERIES.c.due_at, now, *_of(name, state))
                    for state in _STATES
                )
            )
            if _is_any_due(connection, REQUESTS.c.due_at, now):
                found.append((DELIVER, COMMITMENTS))
        return found

    def due(self) -> Due:
        """Return the work due now: what the relay notifies workers of and operators monitor."""
        now = self._clock().scheduled
        with self._database.read() as connection:
            received = numbers(connection, "jobs").get((JobState.RECEIVED, ""), 0)
            later, oldest = connection.execute(
                select(_later(JOBS.c.due_at, now), _oldest_due(JOBS.c.due_at, now))
            ).one()
            in_flight = numbers(connection, "deliveries")
            waiting = {
                (state, name): connection.execute(_waiting(state, name, now)).one()
                for name in in_flight_destinations(connection)
                for state in _STATES
            }
            answer = connection.execute(
                select(
                    func.coalesce(func.sum((REQUESTS.c.due_at <= now).cast(Integer)), 0),
                    func.min(REQUESTS.c.since),
                )
            ).one()
            paused = _paused(connection, now)
        due = {key: in_flight.get(key, 0) - row.later for key, row in waiting.items()}
        return Due(
            infer=received - later,
            deliver=_due_now(due, DeliveryState.PENDING, paused),
            commit=_due_now(due, DeliveryState.STORED, paused),
            answer=int(answer[0]),
            oldest_infer_at=oldest,
            oldest_deliver_at=_oldest(waiting, DeliveryState.PENDING),
            oldest_commit_at=_oldest(waiting, DeliveryState.STORED),
            oldest_answer_at=answer[1],
        )

    def _jobs(self, query: Select[Any]) -> list[Job]:
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]


def _with_repeats(events: list[Event], repeats: int, at: float) -> list[Event]:
    """Add the repeats of the receipt as one event, where the last of them happened."""
    place = next((n for n, event in enumerate(events) if event.at > at), len(events))
    again = Event(at=at, name="received-again", detail={"times": repeats})
    return [*events[:place], again, *events[place:]]


def _is_any_due(
    connection: Connection,
    due_at: ColumnElement[float],
    now: float,
    *conditions: ColumnElement[bool],
) -> bool:
    # in order, or PostgreSQL would look through the table for the first that it meets
    query = select(due_at).where(due_at <= now, *conditions).order_by(due_at).limit(1)
    return connection.execute(query).first() is not None


def _of(destination: str, state: DeliveryState) -> tuple[ColumnElement[bool], ...]:
    return DELIVERIES.c.destination == destination, DELIVERIES.c.state == state


def _later(
    due_at: ColumnElement[float], now: float, *conditions: ColumnElement[bool]
) -> ScalarSelect[int]:
    """Count what is leased or postponed: far less than what is due, where that is much."""
    return select(func.count()).where(due_at > now, *conditions).scalar_subquery()


def _oldest_due(due_at: ColumnElement[float], now: float) -> ScalarSelect[float]:
    return select(due_at).where(due_at <= now).order_by(due_at).limit(1).scalar_subquery()


def _waiting(state: DeliveryState, destination: str, now: float) -> Select[Any]:
    """Select how many deliveries are due later, and since when the oldest waits."""
    table, conditions = DELIVERIES.c, _of(destination, state)
    since = select(func.min(table.since)).where(table.due_at.is_not(None), *conditions)
    return select(
        _later(table.due_at, now, *conditions).label("later"),
        since.scalar_subquery().label("since"),
    )


def _paused(connection: Connection, now: float) -> set[str]:
    """Return the destinations whose breaker is open."""
    query = select(BREAKERS.c.name).where(BREAKERS.c.open_until > now)
    return set(connection.execute(query).scalars())


def _due_now(
    due: Mapping[tuple[DeliveryState, str], int], state: DeliveryState, paused: Collection[str]
) -> dict[str, int]:
    return {
        name: number
        for (each, name), number in due.items()
        if each is state and number > 0 and name not in paused
    }


def _oldest(
    waiting: Mapping[tuple[DeliveryState, str], Row[Any]], state: DeliveryState
) -> dict[str, float]:
    return {
        name: row.since
        for (each, name), row in waiting.items()
        if each is state and row.since is not None
    }
