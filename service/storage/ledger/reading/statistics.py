"""Counts over many jobs and verdicts, for the quality page; nothing about a patient."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    case,
    cast,
    func,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from service.domain.job import JobState
from service.domain.reasons import Reason
from service.domain.verdict import Opinion
from service.storage.ledger.database import Database
from service.storage.ledger.tables import JOBS, VERDICTS

DAY_SECONDS: Final = 86_400
BINS: Final = 100  # of the histogram of probabilities
_MOST_SOURCES: Final = 100  # pairs of sender and model


class Period(StrEnum):
    """What jobs are counted by."""

    DAY = "day"
    WEEK = "week"

    @property
    def seconds(self) -> int:
        """Its length."""
        return DAY_SECONDS if self is Period.DAY else 7 * DAY_SECONDS

    @property
    def origin(self) -> int:
        """The beginning of one, seconds since the epoch: weeks begin on a Monday (ISO 8601)."""
        return 0 if self is Period.DAY else -3 * DAY_SECONDS  # the epoch was a Thursday

    def start(self, at: float) -> int:
        """Return the beginning of the period that holds a moment, in UTC."""
        return int((at - self.origin) // self.seconds) * self.seconds + self.origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs or verdicts are counted: those received or given in [since, until)."""

    since: float  # seconds since the epoch
    until: float
    model: str | None = None
    ae_title: str | None = None  # calling AE title of the sender


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCount:
    """Jobs of one period with one outcome; neither finding nor reason: there is none yet."""

    start: int  # of the period, seconds since the epoch
    finding: str | None
    reason: Reason | None  # why there is no finding
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictCount:
    """Verdicts of one week that say the same about the same finding."""

    start: int
    finding: str
    opinion: Opinion
    right_finding: str | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCount:
    """Jobs of one sender with one model; the model is None where it was not asked."""

    ae_title: str
    model: str | None
    count: int
    analysed: int
    present: int


class Floor(GenericFunction[int]):
    """The whole number below a number that is not negative."""

    name = "lobar_floor"
    type = BigInteger()
    inherit_cache = True


@compiles(Floor)
def _floor(element: Floor, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    return f"CAST(FLOOR({compiler.process(element.clauses, **options)}) AS BIGINT)"


@compiles(Floor, "sqlite")
def _floor_of_sqlite(element: Floor, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    # its FLOOR is an option of how it was built, and its CAST truncates
    return f"CAST({compiler.process(element.clauses, **options)} AS INTEGER)"


REASON: Final = func.coalesce(
    JOBS.c.refusal, case((JOBS.c.state == JobState.NOT_ANALYSED, JOBS.c.reason))
)
"""Why a job has no finding; null where it has one, or no result yet."""


class Statistics:
    """Counts over many jobs and verdicts; each is one query that reads a range of time once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def outcomes(self, selection: Selection, period: Period) -> list[OutcomeCount]:
        """Count the jobs by period and outcome, the oldest period first."""
        with self._database.read() as connection:
            return [
                OutcomeCount(
                    start=row.number * period.seconds + period.origin,
                    finding=row.finding,
                    reason=Reason(row.reason) if row.reason and not row.finding else None,
                    count=row.n,
                )
                for row in connection.execute(outcomes_query(selection, period))
            ]

    def histogram(self, selection: Selection) -> list[int]:
        """Count the jobs by probability, in `BINS` bins of the same width."""
        counts = [0] * BINS
        with self._database.read() as connection:
            for row in connection.execute(histogram_query(selection)):
                counts[min(row.bin, BINS - 1)] += row.n  # 1.0 belongs to the last
        return counts

    def verdicts(self, selection: Selection) -> list[VerdictCount]:
        """Count the verdicts by week, finding and opinion; of one person's, the last on a report.

        With a sender selected, those whose job was forgotten are left out.
        """
        with self._database.read() as connection:
            return [
                VerdictCount(
                    start=row.number * Period.WEEK.seconds + Period.WEEK.origin,
                    finding=row.finding,
                    opinion=Opinion(row.opinion),
                    right_finding=row.right_finding,
                    count=row.n,
                )
                for row in connection.execute(verdicts_query(selection))
            ]

    def sources(self, since: float, until: float) -> list[SourceCount]:
        """Count the jobs by sender and model, the most frequent first."""
        with self._database.read() as connection:
            return [
                SourceCount(
                    ae_title=row.calling_ae_title,
                    model=row.model,
                    count=row.n,
                    analysed=row.analysed,
                    present=row.present or 0,
                )
                for row in connection.execute(sources_query(since, until))
            ]


def outcomes_query(selection: Selection, period: Period) -> Select[Any]:
    """Build the query of `Statistics.outcomes`."""
    number = _number(JOBS.c.received_at, period)
    reason = REASON.label("reason")
    return (
        select(number, JOBS.c.finding, reason, func.count().label("n"))
        .where(*_of_jobs(selection))
        .group_by(number, JOBS.c.finding, reason)
        .order_by(number)
    )


def histogram_query(selection: Selection) -> Select[Any]:
    """Build the query of `Statistics.histogram`."""
    number: ColumnElement[Any] = Floor(JOBS.c.probability * float(BINS)).label("bin")
    return (
        select(number, func.count().label("n"))
        .where(*_of_jobs(selection), JOBS.c.probability.is_not(None))
        .group_by(number)
    )


def verdicts_query(selection: Selection) -> Select[Any]:
    """Build the query of `Statistics.verdicts`."""
    given = _between(VERDICTS.c.at, selection.since, selection.until)
    last = (
        select(func.max(VERDICTS.c.id).label("id"))
        .where(*given)
        .group_by(VERDICTS.c.user_name, VERDICTS.c.report_uid)
        .subquery()
    )
    number = _number(VERDICTS.c.at, Period.WEEK)
    said = (VERDICTS.c.finding, VERDICTS.c.opinion, VERDICTS.c.right_finding)
    query = (
        select(number, *said, func.count().label("n"))
        .join(last, last.c.id == VERDICTS.c.id)
        .group_by(number, *said)
        .order_by(number)
    )
    if selection.model is not None:
        query = query.where(VERDICTS.c.model == selection.model)
    if selection.ae_title is not None:
        query = query.join(JOBS, JOBS.c.id == VERDICTS.c.job_id).where(
            JOBS.c.calling_ae_title == selection.ae_title
        )
    return query


def sources_query(since: float, until: float) -> Select[Any]:
    """Build the query of `Statistics.sources`."""
    counted = func.count()
    present = func.sum(cast(JOBS.c.finding == "present", Integer))
    return (
        select(
            JOBS.c.calling_ae_title,
            JOBS.c.model,
            counted.label("n"),
            func.count(JOBS.c.finding).label("analysed"),
            present.label("present"),
        )
        .where(*_between(JOBS.c.received_at, since, until))
        .group_by(JOBS.c.calling_ae_title, JOBS.c.model)
        .order_by(counted.desc(), JOBS.c.calling_ae_title, JOBS.c.model)
        .limit(_MOST_SOURCES)
    )


def _number(at: ColumnElement[float], period: Period) -> ColumnElement[int]:
    """Count the periods since the origin."""
    return Floor((at - float(period.origin)) / float(period.seconds)).label("number")


def _between(at: ColumnElement[float], since: float, until: float) -> list[ColumnElement[bool]]:
    return [at >= float(since), at < float(until)]


def _of_jobs(selection: Selection) -> list[ColumnElement[bool]]:
    conditions = _between(JOBS.c.received_at, selection.since, selection.until)
    if selection.model is not None:
        conditions.append(JOBS.c.model == selection.model)
    if selection.ae_title is not None:
        conditions.append(JOBS.c.calling_ae_title == selection.ae_title)
    return conditions
