"""What flows now and what waits for a person, for the status page; each query reads a few rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    func,
    select,
)

from service.domain.delivery import DeliveryState
from service.domain.job import Event, Job, JobState
from service.domain.reasons import Reason
from service.storage.ledger.clock import Clock, Moment
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import event_of, job_of
from service.storage.ledger.tables import DELIVERIES, EVENTS, JOBS, REQUESTS, is_state
from service.storage.ledger.tallies import numbers

_MOST_MEASURED: Final = 2000  # jobs whose times are a sample of the period
_CANDIDATES: Final = 5  # deliveries among which the latest failure is looked for
_FAILURES: Final = (
    *("output-refused", "output-postponed", "output-parked"),
    "commitment-postponed",
)
_AT_ONCE: Final = 500  # values in one query
_MINUTE: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The work of one stage that is not done; ages count from `oldest_at`."""

    due: int  # no worker has taken it yet
    leased: int
    postponed: int  # due later
    oldest_at: float | None  # when the oldest began to wait, seconds since the epoch

    @property
    def total(self) -> int:
        """All of it."""
        return self.due + self.leased + self.postponed


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFlow:
    """What one destination has to receive, and how it answered last."""

    name: str
    sending: Waiting
    committing: Waiting  # stored there, its commitment awaited
    parked: int
    succeeded_at: float | None
    succeeded_status: int | None  # the DIMSE status of that answer
    failure: Event | None  # the latest of what is not delivered yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a step took: of how many jobs, the median and the 95th percentile in seconds."""

    jobs: int
    median: float | None
    p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What was received and finished in one minute."""

    at: float  # its beginning, seconds since the epoch
    received: int
    finished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedGroup:
    """The parked jobs of one reason."""

    reason: Reason
    jobs: int
    oldest_at: float  # when the oldest of them was received
    first: Sequence[Job]  # a few, the oldest first


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestModel:
    """The model of the job that was reported last."""

    model: str
    operating_point: str
    reported_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OverdueRequests:
    """Senders' commitment requests that have waited too long for their result."""

    requests: int
    oldest_at: float | None
    calling_ae_titles: Sequence[str]


class Flow:
    """Queries of the status page and of the upload page."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def jobs(self, job_ids: Iterable[str]) -> list[Job]:
        """List those of some jobs that the ledger has."""
        wanted = list(job_ids)
        return [
            job
            for start in range(0, len(wanted), _AT_ONCE)
            for job in self._jobs(
                select(JOBS).where(JOBS.c.id.in_(wanted[start : start + _AT_ONCE]))
            )
        ]

    def analysis(self) -> Waiting:
        """Return what is received and not reported yet."""
        table, now = JOBS.c, self._clock().scheduled
        oldest = select(func.min(table.received_at)).where(table.state == JobState.RECEIVED)
        with self._database.read() as connection:
            total = numbers(connection, "jobs").get((JobState.RECEIVED, ""), 0)
            row = connection.execute(
                _waiting(table.holder, table.due_at, oldest.scalar_subquery(), now)
            ).one()
        return _waiting_of(row, total, row.oldest_at)

    def destinations(self, names: Iterable[str]) -> list[DestinationFlow]:
        """Return what each of these destinations has to receive, and how it answered last."""
        with self._database.read() as connection:
            counted = numbers(connection, "deliveries")
            return [self._destination(connection, name, counted) for name in names]

    def _destination(
        self, connection: Connection, name: str, counted: Mapping[tuple[str, str], int]
    ) -> DestinationFlow:
        table, now = DELIVERIES.c, self._clock()
        by_state = {}
        for state in (DeliveryState.PENDING, DeliveryState.STORED):
            of_state = (table.destination == name, table.state == state)
            oldest = select(func.min(table.since)).where(table.due_at.is_not(None), *of_state)
            query = _waiting(
                *(table.holder, table.due_at, oldest.scalar_subquery(), now.scheduled), *of_state
            )
            row = connection.execute(query).one()
            oldest_at = _on_the_wall(row.oldest_at, now)
            by_state[state] = _waiting_of(row, counted.get((state, name), 0), oldest_at)
        success = connection.execute(
            select(table.finished_at, table.status)
            .where(table.destination == name, table.finished_at.is_not(None))
            .order_by(table.finished_at.desc())
            .limit(1)
        ).first()
        return DestinationFlow(
            name=name,
            sending=by_state[DeliveryState.PENDING],
            committing=by_state[DeliveryState.STORED],
            parked=counted.get((DeliveryState.PARKED, name), 0),
            succeeded_at=success.finished_at if success else None,
            succeeded_status=success.status if success else None,
            failure=_latest_failure(connection, name),
        )

    def latencies(self, seconds: float) -> dict[str, Latency]:
        """Measure the steps of the jobs of the last `seconds`, the newest if there are many.

        Returns:
            By step: `analysis` (received or asked for, until reported), `delivery` (reported until
            delivered) and `whole` (received or asked for, until delivered).
        """
        since = self._clock().wall - seconds
        table = JOBS.c
        reported = (
            select(table.reported_at - table.asked_at)
            .where(table.received_at >= since, table.reported_at.is_not(None))
            .order_by(table.received_at.desc())
        )
        delivered = (
            select(table.finished_at - table.reported_at, table.finished_at - table.asked_at)
            .where(
                table.finished_at >= since,
                table.state == JobState.DELIVERED,
                table.reported_at.is_not(None),
            )
            .order_by(table.finished_at.desc())
        )
        with self._database.read() as connection:
            analysis = connection.execute(reported.limit(_MOST_MEASURED)).scalars().all()
            ended = connection.execute(delivered.limit(_MOST_MEASURED)).all()
        return {
            "analysis": _latency(analysis),
            "delivery": _latency([row[0] for row in ended]),
            "whole": _latency([row[1] for row in ended]),
        }

    def per_minute(self, minutes: int) -> list[Minute]:
        """Count what was received and finished in each of the last minutes, up to this one."""
        end = int(self._clock().wall) // _MINUTE + 1
        first = end - minutes
        with self._database.read() as connection:
            received = _counts(connection, JOBS.c.received_at, first, end)
            finished = _counts(connection, JOBS.c.finished_at, first, end)
        return [
            Minute(
                at=float(each * _MINUTE),
                received=received.get(each, 0),
                finished=finished.get(each, 0),
            )
            for each in range(first, end)
        ]

    def parked(self, first: int) -> list[ParkedGroup]:
        """List the parked jobs by reason, the most frequent first, with the oldest of each."""
        with self._database.read() as connection:
            counted = {
                Reason(reason): jobs
                for (state, reason), jobs in numbers(connection, "jobs").items()
                if state == JobState.PARKED
            }
        groups = []
        for reason in sorted(counted, key=lambda each: (-counted[each], each)):
            jobs = self.parked_for(reason, max(first, 1))
            if jobs:  # else they were requeued in the meantime
                groups.append(
                    ParkedGroup(
                        reason=reason,
                        jobs=counted[reason],
                        oldest_at=jobs[0].received_at,
                        first=jobs[:first],
                    )
                )
        return groups

    def parked_for(self, reason: Reason, limit: int) -> list[Job]:
        """List up to `limit` jobs parked for one reason, the oldest first."""
        return self._jobs(
            select(JOBS)
            .where(is_state(JOBS, JobState.PARKED), JOBS.c.reason == reason)
            .order_by(JOBS.c.received_at, JOBS.c.id)
            .limit(limit)
        )

    def latest_model(self) -> LatestModel | None:
        """Return the model that reported the newest job; None while none was."""
        table = JOBS.c
        query = (
            select(table.model, table.operating_point, table.reported_at)
            .where(table.reported_at.is_not(None), table.model.is_not(None))
            .order_by(table.received_at.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else LatestModel(**row._mapping)  # noqa: SLF001 -- public

    def overdue_requests(self, seconds: float) -> OverdueRequests:
        """Return the senders' commitment requests without a result for longer than `seconds`."""
        now = self._clock()
        before = now.scheduled - seconds
        query = (
            select(REQUESTS.c.calling_ae_title, func.count(), func.min(REQUESTS.c.since))
            .where(REQUESTS.c.since < before)
            .group_by(REQUESTS.c.calling_ae_title)
            .order_by(REQUESTS.c.calling_ae_title)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return OverdueRequests(
            requests=sum(int(count) for _, count, _ in rows),
            oldest_at=_on_the_wall(min((since for _, _, since in rows), default=None), now),
            calling_ae_titles=[name for name, _, _ in rows],
        )

    def _jobs(self, query: Select[Any]) -> list[Job]:
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]


def _waiting(
    holder: ColumnElement[Any],
    due_at: ColumnElement[Any],
    oldest_at: ScalarSelect[Any],
    now: float,
    *conditions: ColumnElement[bool],
) -> Select[Any]:
    """Select how many rows are due later and how many of those are leased, which are few."""
    later = select(func.count()).where(due_at > now, *conditions)
    leased = later.where(holder.is_not(None))
    return select(
        later.scalar_subquery().label("later"),
        leased.scalar_subquery().label("leased"),  # a lease that expired is due again
        oldest_at.label("oldest_at"),
    )


def _waiting_of(row: Any, total: int, oldest_at: float | None) -> Waiting:  # noqa: ANN401 -- a row of `_waiting`
    return Waiting(
        due=total - row.later,
        leased=row.leased,
        postponed=row.later - row.leased,
        oldest_at=oldest_at,
    )


def _on_the_wall(scheduled: float | None, now: Moment) -> float | None:
    """Return what the wall clock would say at a scheduling time, for people."""
    return None if scheduled is None else scheduled - now.scheduled + now.wall


def _latest_failure(connection: Connection, destination: str) -> Event | None:
    """Return the latest failure of what is not delivered yet.

    A delivery that failed is due after a pause, so those due last failed last.
    """
    table = DELIVERIES.c
    job_ids: set[str] = set()
    to_it = select(table.job_id).where(table.destination == destination)
    in_flight = to_it.where(table.due_at.is_not(None)).order_by(table.due_at.desc())
    for query in (
        in_flight.where(table.state == DeliveryState.PENDING),
        in_flight.where(table.state == DeliveryState.STORED),
        to_it.where(is_state(DELIVERIES, DeliveryState.PARKED)),
    ):
        last = query.order_by(table.id.desc()).limit(_CANDIDATES)
        job_ids.update(connection.execute(last).scalars())
    events = connection.execute(
        select(EVENTS)
        .where(EVENTS.c.job_id.in_(job_ids), EVENTS.c.name.in_(_FAILURES))
        .order_by(EVENTS.c.id.desc())
    )
    return next(
        (event_of(row) for row in events if row.detail.get("destination") == destination), None
    )


def _counts(
    connection: Connection, moment: ColumnElement[Any], first: int, end: int
) -> dict[int, int]:
    """Count rows by minute since the epoch.

    A moment becomes whole seconds first: one database cuts its fraction off, the other rounds it,
    so that it may count for the next minute half a second early.
    """
    minute = moment.cast(BigInteger) // _MINUTE
    query = (
        select(minute, func.count())
        .where(moment >= first * _MINUTE, moment < end * _MINUTE)
        .group_by(minute)
    )
    return {int(each): int(count) for each, count in connection.execute(query)}


def _latency(seconds: Sequence[float]) -> Latency:
    in_order = sorted(seconds)
    return Latency(
        jobs=len(in_order), median=_quantile(in_order, 0.5), p95=_quantile(in_order, 0.95)
    )


def _quantile(in_order: Sequence[float], share: float) -> float | None:
    """Return the smallest value that so large a share does not exceed."""
    if not in_order:
        return None
    return in_order[max(0, math.ceil(share * len(in_order)) - 1)]
