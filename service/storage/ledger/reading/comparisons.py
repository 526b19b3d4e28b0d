"""What a shadow model said beside what was reported: counts, differences and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, func, select

from service.domain.monitoring.shadow import Comparison, Reading
from service.domain.reasons import Reason
from service.domain.routing import Outcome
from service.domain.verdict import Opinion
from service.storage.ledger.database import Database
from service.storage.ledger.tables import SHADOWS, VERDICTS

MOST_DIFFERENCES: Final = 20_000  # of which quantiles are computed: the latest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models that were compared: the one that reported, and the shadow."""

    reported: str
    shadow: str
    count: int
    last_at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Which comparisons: of two models, planned in [since, until)."""

    since: float
    until: float
    reported: str
    shadow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomePair:
    """Instances of which the two models said the same two things."""

    reported: Outcome
    shadow: Outcome
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPair:
    """Instances of which a radiologist said which finding is right."""

    right: str
    reported: Outcome
    shadow: Outcome
    count: int


class Comparisons:
    """Reads comparisons; each query reads a range of time once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pairs(self, since: float, until: float) -> list[Pair]:
        """Return which models were compared, the latest pair first."""
        last = func.max(SHADOWS.c.planned_at)
        query = (
            select(
                SHADOWS.c.reported_model, SHADOWS.c.model, func.count().label("n"), last.label("at")
            )
            .where(*_planned(since, until), SHADOWS.c.model.is_not(None))
            .group_by(SHADOWS.c.reported_model, SHADOWS.c.model)
            .order_by(last.desc())
        )
        with self._database.read() as connection:
            return [
                Pair(reported=row.reported_model, shadow=row.model, count=row.n, last_at=row.at)
                for row in connection.execute(query)
            ]

    def outcomes(self, compared: Compared) -> list[OutcomePair]:
        """Count the instances by what the two models said."""
        columns = (SHADOWS.c.reported_finding, SHADOWS.c.finding)
        query = select(*columns, func.count().label("n")).where(*_of(compared)).group_by(*columns)
        with self._database.read() as connection:
            return [
                OutcomePair(
                    reported=_outcome(row.reported_finding),
                    shadow=_outcome(row.finding),
                    count=row.n,
                )
                for row in connection.execute(query)
            ]

    def differences(self, compared: Compared) -> list[float]:
        """Return the shadow's probabilities less the reported ones, of the latest instances."""
        difference = SHADOWS.c.probability - SHADOWS.c.reported_probability
        query = (
            select(difference)
            .where(*_of(compared), difference.is_not(None))
            .order_by(SHADOWS.c.planned_at.desc())
            .limit(MOST_DIFFERENCES)
        )
        with self._database.read() as connection:
            return [float(each) for each in connection.execute(query).scalars()]

    def changes(self, compared: Compared, limit: int) -> list[Comparison]:
        """Return instances whose report would have another outcome, the latest first."""
        is_same = func.coalesce(SHADOWS.c.finding, "") == func.coalesce(
            SHADOWS.c.reported_finding, ""
        )
        query = (
            select(SHADOWS)
            .where(*_of(compared), ~is_same)
            .order_by(SHADOWS.c.planned_at.desc(), SHADOWS.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [_comparison_of(row) for row in connection.execute(query)]

    def judged(self, compared: Compared) -> list[JudgedPair]:
        """Count the instances with a verdict by what it says is right; the last verdict counts."""
        columns = (VERDICTS.c.opinion, VERDICTS.c.finding, VERDICTS.c.right_finding)
        query = (
            select(
                *columns,
                SHADOWS.c.reported_finding,
                SHADOWS.c.finding.label("shadow_finding"),
                func.count().label("n"),
            )
            .join(SHADOWS, SHADOWS.c.job_id == VERDICTS.c.job_id)
            .where(VERDICTS.c.id.in_(_last_verdicts(compared)), *_of(compared))
            .group_by(*columns, SHADOWS.c.reported_finding, SHADOWS.c.finding)
        )
        with self._database.read() as connection:
            return [
                JudgedPair(
                    right=right,
                    reported=_outcome(row.reported_finding),
                    shadow=_outcome(row.shadow_finding),
                    count=row.n,
                )
                for row in connection.execute(query)
                if (right := _right_of(row)) is not None
            ]

    def failures(self, since: float, until: float) -> dict[str, int]:
        """Count the instances that the shadow model could not read, by why."""
        query = (
            select(SHADOWS.c.failure, func.count())
            .where(*_planned(since, until), SHADOWS.c.failure.is_not(None))
            .group_by(SHADOWS.c.failure)
            .order_by(SHADOWS.c.failure)
        )
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def of(self, job_id: str) -> Comparison | None:
        """Return the comparison of a job; None where the shadow model did not read it."""
        query = select(SHADOWS).where(SHADOWS.c.job_id == job_id, SHADOWS.c.model.is_not(None))
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _comparison_of(row)


def _planned(since: float, until: float) -> Sequence[ColumnElement[bool]]:
    return SHADOWS.c.planned_at >= since, SHADOWS.c.planned_at < until


def _of(compared: Compared) -> Sequence[ColumnElement[bool]]:
    return (
        *_planned(compared.since, compared.until),
        SHADOWS.c.reported_model == compared.reported,
        SHADOWS.c.model == compared.shadow,
    )


def _last_verdicts(compared: Compared) -> Select[Any]:
    """Select the last verdict on each job that was compared."""
    return (
        select(func.max(VERDICTS.c.id))
        .join(SHADOWS, SHADOWS.c.job_id == VERDICTS.c.job_id)
        .where(*_of(compared), VERDICTS.c.opinion != str(Opinion.UNSURE))
        .group_by(VERDICTS.c.job_id)
        .correlate(None)
    )


def _right_of(row: Row[Any]) -> str | None:
    """Return the finding that a verdict says is right; None where it says that none is known."""
    right: str | None = row.finding if row.opinion == Opinion.AGREE else row.right_finding
    return right


def _outcome(finding: str | None) -> Outcome:
    return Outcome(finding) if finding else Outcome.NOT_ANALYSED


def _comparison_of(row: Row[Any]) -> Comparison:
    return Comparison(
        job_id=row.job_id,
        planned_at=row.planned_at,
        reported=Reading(
            model=row.reported_model,
            operating_point=row.reported_point,
            finding=row.reported_finding,
            probability=row.reported_probability,
            reason=Reason(row.reported_reason) if row.reported_reason else None,
        ),
        shadow=Reading(
            model=row.model,
            operating_point=row.operating_point,
            finding=row.finding,
            probability=row.probability,
            reason=Reason(row.reason) if row.reason else None,
            weights_sha256=row.weights_sha256,
        ),
    )
