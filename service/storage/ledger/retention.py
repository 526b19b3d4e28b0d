"""Retention in the ledger: mark the bytes of finished jobs as gone, discard them, forget jobs.

The mark is committed before a file is removed, and a marked job is not analysed again. Files are
removed, and put back, while the job's row is locked; a crash in between leaves a mark whose files
a later sweep removes.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    Select,
    delete,
    exists,
    or_,
    select,
    update,
)

from service.storage.ledger.clock import Clock, Moment
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import append_event, count
from service.storage.ledger.tables import JOBS

_HAS_BYTES: Final = (JOBS.c.finished_at.is_not(None), JOBS.c.purged_at.is_(None))
_IS_MARKED: Final = (JOBS.c.purged_at.is_not(None), JOBS.c.discarded_at.is_(None))
_IS_DISCARDED: Final = (JOBS.c.purged_at.is_not(None), JOBS.c.discarded_at.is_not(None))
_OLDEST_FIRST: Final = (JOBS.c.kept_since, JOBS.c.id)


class Retention:
    """What retention asks of the ledger and writes to it; ages are of scheduling time."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def mark_older(self, seconds: float, limit: int) -> list[str]:
        """Mark the bytes of up to `limit` jobs as gone that finished so long ago, oldest first.

        Bytes that were committed to a sender or stored again since are kept as long from then.

        Returns:
            The ids of the marked jobs; each has an event in its trace.
        """
        now = self._clock()
        query = select(JOBS.c.id).where(JOBS.c.kept_since < now.scheduled - seconds)
        return self._mark(query, now, limit, keep_seconds=seconds, by="age")

    def mark_oldest(self, keep_seconds: float, limit: int) -> list[str]:
        """Mark the bytes of the `limit` jobs that finished first as gone, to make room.

        Bytes that were committed to a sender or stored again in the last `keep_seconds` stay.

        Returns:
            The ids of the marked jobs; each has an event in its trace.
        """
        return self._mark(
            select(JOBS.c.id), self._clock(), limit, keep_seconds=keep_seconds, by="size"
        )

    def _mark(
        self, query: Select[Any], now: Moment, limit: int, *, keep_seconds: float, by: str
    ) -> list[str]:
        chosen = (
            query.where(*_HAS_BYTES, _is_unpromised(now.scheduled - keep_seconds))
            .order_by(*_OLDEST_FIRST)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as connection:
            marked = list(connection.execute(chosen).scalars())
            connection.execute(update(JOBS).where(JOBS.c.id.in_(marked)).values(purged_at=now.wall))
            for job_id in marked:
                append_event(connection, job_id, now, "purged", by=by)
        return marked

    def marked(self, limit: int) -> list[str]:
        """List up to `limit` marked jobs whose files may still be there, the first marked first."""
        query = select(JOBS.c.id).where(*_IS_MARKED).order_by(JOBS.c.purged_at, JOBS.c.id)
        with self._database.read() as connection:
            return list(connection.execute(query.limit(limit)).scalars())

    def discard(self, job_id: str, remove: Callable[[], int]) -> int:
        """Remove the files of a marked job, while nobody can put them back.

        Args:
            job_id: The job.
            remove: Removes the files and returns how many bytes they had.

        Returns:
            What `remove` returned; 0 where the job is not marked any more, and nothing is removed.
        """
        now = self._clock()
        with self._database.write() as connection:
            if _locked(connection, job_id, *_IS_MARKED) is None:
                return 0
            freed = remove()
            connection.execute(
                update(JOBS).where(JOBS.c.id == job_id).values(discarded_at=now.wall)
            )
        return freed

    def restore(self, job_id: str, place: Callable[[], object]) -> bool:
        """Put back the bytes of a marked job, which its sender stored again.

        Args:
            job_id: The job.
            place: Puts the file in its place, durably.

        Returns:
            False where the job has its bytes already, and `place` was not called.

        Raises:
            LookupError: The job was forgotten in the meantime.
        """
        now, this = self._clock(), JOBS.c.id == job_id
        with self._database.write() as connection:
            # so that the file is removed again by a sweep, if this ends before the second commit
            connection.execute(update(JOBS).where(this, *_IS_DISCARDED).values(discarded_at=None))
        with self._database.write() as connection:
            row = _locked(connection, job_id)
            if row is None:
                raise LookupError(f"no job {job_id}")
            if row.purged_at is None:
                return False
            place()
            values = {"purged_at": None, "discarded_at": None, "promised_at": now.scheduled}
            connection.execute(update(JOBS).where(this).values(values))
            append_event(connection, job_id, now, "stored-again")
        return True

    def keep(self, job_ids: Collection[str]) -> frozenset[str]:
        """Promise to keep the bytes of jobs from now on as long as those of a finished job.

        Returns:
            The jobs to which the promise applies: not those whose bytes are marked as gone.
        """
        now = self._clock()
        with self._database.write() as connection:
            kept = connection.execute(
                update(JOBS)
                .where(JOBS.c.id.in_(job_ids), JOBS.c.purged_at.is_(None))
                .values(promised_at=now.scheduled)
                .returning(JOBS.c.id)
            ).scalars()
            return frozenset(kept)

    def forget_older(self, seconds: float, limit: int) -> list[str]:
        """Delete up to `limit` jobs with their traces that finished so long ago, and count them.

        Only jobs whose bytes are gone. A job that others correct goes after them.

        Returns:
            The ids of the deleted jobs.
        """
        goes = (
            JOBS.c.kept_since < self._clock().scheduled - seconds,
            *_IS_DISCARDED,
            ~_is_corrected(),
        )
        query = select(JOBS.c.id).where(*goes).order_by(*_OLDEST_FIRST).limit(limit)
        with self._database.write() as connection:
            oldest = list(connection.execute(query.with_for_update(skip_locked=True)).scalars())
            connection.execute(delete(JOBS).where(JOBS.c.id.in_(oldest)))
            count(connection, "forgotten", len(oldest))
        return oldest


def _locked(connection: Connection, job_id: str, *conditions: ColumnElement[bool]) -> Any:  # noqa: ANN401 -- a row, or None
    query = select(JOBS.c.id, JOBS.c.purged_at).where(JOBS.c.id == job_id, *conditions)
    return connection.execute(query.with_for_update(key_share=True)).one_or_none()


def _is_unpromised(before: float) -> ColumnElement[bool]:
    return or_(JOBS.c.promised_at.is_(None), JOBS.c.promised_at < before)


def _is_corrected() -> Exists:
    correction = JOBS.alias()
    return exists().where(correction.c.corrects == JOBS.c.id)
