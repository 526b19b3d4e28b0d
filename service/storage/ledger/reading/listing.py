"""Jobs page by page, for programs: a page begins behind the last one's last row.

A page by number would repeat rows or leave some out while others arrive.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, or_, select

from service.domain.job import Job, JobState
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import job_of
from service.storage.ledger.tables import JOBS

_EQUAL: Final = (
    *("state", "finding", "calling_ae_title"),
    *("study_instance_uid", "series_instance_uid", "sop_instance_uid"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs are listed: those for which everything that is set holds."""

    state: JobState | None = None
    finding: str | None = None
    calling_ae_title: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    since: float | None = None  # received then or later, seconds since the epoch
    until: float | None = None  # received before


@dataclass(frozen=True, slots=True)
class Position:
    """The place of a job in the order: newest first, by id among those of one moment."""

    received_at: float
    job_id: str


class Listing:
    """Pages of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(self, wanted: JobFilter, limit: int, after: Position | None = None) -> list[Job]:
        """List up to `limit` jobs behind a position, the newest first."""
        query = (
            select(JOBS)
            .where(*_conditions(wanted))
            .order_by(JOBS.c.received_at.desc(), JOBS.c.id)
            .limit(limit)
        )
        if after is not None:
            moment = JOBS.c.received_at
            same = and_(moment == after.received_at, JOBS.c.id > after.job_id)
            query = query.where(moment <= after.received_at, or_(moment < after.received_at, same))
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]


def _conditions(wanted: JobFilter) -> Iterator[ColumnElement[bool]]:
    for name in _EQUAL:
        value = getattr(wanted, name)
        if value is not None:
            yield JOBS.c[name] == value
    if wanted.since is not None:
        yield JOBS.c.received_at >= wanted.since
    if wanted.until is not None:
        yield JOBS.c.received_at < wanted.until
