"""Numbers of films by group, for drift, and the references of this site."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, case, delete, func, insert, literal, select

from service.domain.monitoring.inputs import (
    EDGES,
    OF_INSTANCE,
    DriftInput,
    number_group,
    refusal_group,
)
from service.domain.monitoring.reference import Reference, ReferenceKind, counted
from service.domain.reasons import Reason
from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.reading.statistics import REASON
from service.storage.ledger.tables import DRIFT_INPUTS, DRIFT_REFERENCES, JOBS

Counts = Mapping[DriftInput, Counter[str]]
Received = tuple[ColumnElement[bool], ...]


class DriftCounts:
    """Counts films by group; what it reads is bounded by the number of films, not by the time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def beginning(self, until: float, most: int) -> float:
        """Return when the last `most` instances before a moment began to be received."""
        query = (
            select(JOBS.c.received_at)
            .where(JOBS.c.received_at < until)
            .order_by(JOBS.c.received_at.desc())
            .offset(most - 1)
            .limit(1)
        )
        with self._database.read() as connection:
            return float(connection.execute(query).scalar_one_or_none() or 0.0)

    def counts(self, since: float, until: float) -> Counts:
        """Count the films received in [since, until) by group of each input."""
        received = (JOBS.c.received_at >= since, JOBS.c.received_at < until)
        with self._database.read() as connection:
            found: dict[DriftInput, Counter[str]] = {}
            for each in OF_INSTANCE:
                rows = connection.execute(_groups_query(DRIFT_INPUTS.c[each], received))
                found[each] = Counter({row.value: row.n for row in rows})
            refusals: Counter[str] = Counter()
            for row in connection.execute(_results_query(received)):
                group = refusal_group(Reason(row.reason) if row.reason else None)
                if group is not None:
                    refusals[group] += row.n
            found[DriftInput.REFUSAL] = refusals
            probabilities: Counter[str] = Counter()
            for row in connection.execute(_probabilities_query(received)):
                probabilities[number_group(DriftInput.PROBABILITY, row.edge)] += row.n
            found[DriftInput.PROBABILITY] = probabilities
        return found

    def accepted(self) -> dict[DriftInput, Reference]:
        """Return the references of this site."""
        with self._database.read() as connection:
            rows = connection.execute(select(DRIFT_REFERENCES)).all()
        return {
            DriftInput(row.input): Reference(
                kind=ReferenceKind.SITE,
                counts=counted(DriftInput(row.input), row.counts),
                since=row.since,
                until=row.until,
            )
            for row in rows
        }

    def accept(self, counts: Counts, since: float, until: float) -> None:
        """Let films of this site be the reference of some inputs from now on."""
        now = self._clock().wall
        with self._database.write() as connection:
            connection.execute(
                delete(DRIFT_REFERENCES).where(DRIFT_REFERENCES.c.input.in_(list(counts)))
            )
            for each, films in counts.items():
                connection.execute(
                    insert(DRIFT_REFERENCES).values(
                        input=each, at=now, since=since, until=until, counts=dict(films)
                    )
                )

    def forget(self) -> int:
        """Remove all references of this site; return how many there were."""
        with self._database.write() as connection:
            return connection.execute(delete(DRIFT_REFERENCES)).rowcount


def _groups_query(column: ColumnElement[str], received: Received) -> Select[Any]:
    return (
        _counting(column.label("value"))
        .join(JOBS, JOBS.c.id == DRIFT_INPUTS.c.job_id)
        .where(*received)
        .group_by(column)
    )


def _results_query(received: Received) -> Select[Any]:
    """Count the jobs with a result by why there is no finding."""
    reason = REASON.label("reason")
    has_result = JOBS.c.finding.is_not(None) | REASON.is_not(None)
    return _counting(reason).where(*received, has_result).group_by(reason)


def _probabilities_query(received: Received) -> Select[Any]:
    """Count the probabilities by the edge at which their group begins; below the first it is 0."""
    probability = JOBS.c.probability
    edges = reversed(EDGES[DriftInput.PROBABILITY])
    begins = ((probability >= each, literal(each)) for each in edges)
    edge = case(*begins, else_=literal(0.0)).label("edge")
    return _counting(edge).where(*received, probability.is_not(None)).group_by(edge)


def _counting(column: ColumnElement[Any]) -> Select[Any]:
    query: Select[Any] = select(column, func.count().label("n"))
    return query
