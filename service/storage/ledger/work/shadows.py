"""What the shadow model is to read, and what it said; nothing here changes a job or a delivery."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, insert, select

from service.domain.monitoring.shadow import Reading, ShadowWork
from service.domain.routing import Outcome
from service.storage.ledger.clock import Clock, Moment
from service.storage.ledger.database import Database
from service.storage.ledger.tables import SHADOWS
from service.storage.ledger.work.leasing import LEASED_SHADOWS

EXHAUSTED: Final = "attempts-exhausted"
BYTES_GONE: Final = "bytes-gone"
SAME_MODEL: Final = "same-model"


class Shadows:
    """The instances that the shadow model reads; every write after a lease is fenced."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def lease(self, holder: str, limit: int, *, lease_seconds: float) -> list[ShadowWork]:
        """Lease up to `limit` instances, the longest due first.

        One that was tried before is leased alone, so that it fails no other.
        """
        now = self._clock().scheduled
        with self._database.write() as connection:
            locked = LEASED_SHADOWS.lock_due(connection, select(SHADOWS), now, limit)
            works = [_work_of(row) for row in locked]
            taken = [each for each in works if each.attempt == 0] or works[:1]
            leased = LEASED_SHADOWS.lease(connection, taken, holder, now + lease_seconds)
            return [_work_of(row) for row in leased]

    def record(self, readings: Sequence[tuple[ShadowWork, Reading]]) -> None:
        """Record what the shadow model said, all in one transaction.

        Raises:
            StaleLeaseError: A lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            for work, said in readings:
                _finish(
                    connection,
                    work,
                    now,
                    model=said.model,
                    weights_sha256=said.weights_sha256,
                    operating_point=said.operating_point,
                    finding=said.finding,
                    probability=said.probability,
                    reason=said.reason,
                )

    def give_up(self, work: ShadowWork, failure: str) -> None:
        """Record that the shadow model cannot read an instance.

        Args:
            work: The instance as leased.
            failure: A fixed word, never text from the wire.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        with self._database.write() as connection:
            _finish(connection, work, self._clock(), failure=failure)

    def postpone(self, work: ShadowWork, seconds: float) -> None:
        """Release a leased instance, due again in `seconds`.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        due_at = self._clock().scheduled + seconds
        with self._database.write() as connection:
            LEASED_SHADOWS.write_if_current(connection, work, due_at=due_at)

    def pending(self) -> int:
        """Return how many instances the shadow model has not read."""
        query = select(func.count()).select_from(SHADOWS).where(SHADOWS.c.due_at.is_not(None))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def release(self, holder: str) -> int:
        """End the leases of processes whose name begins with `holder`; return how many."""
        now = self._clock().scheduled
        with self._database.write() as connection:
            return len(LEASED_SHADOWS.release(connection, holder, now))


def plan_shadow(connection: Connection, job_id: str, reported: Reading | None, now: Moment) -> None:
    """Let the shadow model read an instance, in the transaction that records what was reported.

    Replaces or removes what was planned or said for an earlier analysis.
    """
    connection.execute(delete(SHADOWS).where(SHADOWS.c.job_id == job_id))
    if reported is None:
        return
    connection.execute(
        insert(SHADOWS).values(
            job_id=job_id,
            planned_at=now.wall,
            due_at=now.scheduled,
            reported_model=reported.model,
            reported_point=reported.operating_point,
            reported_finding=reported.finding,
            reported_probability=reported.probability,
            reported_reason=reported.reason,
        )
    )


def _finish(connection: Connection, work: ShadowWork, now: Moment, **values: Any) -> None:  # noqa: ANN401 -- columns
    LEASED_SHADOWS.write_if_current(connection, work, due_at=None, finished_at=now.wall, **values)


def _work_of(row: Row[Any]) -> ShadowWork:
    return ShadowWork(
        id=row.id,
        job_id=row.job_id,
        planned_at=row.planned_at,
        attempt=row.attempt,
        holder=row.holder,
        reported=Outcome(row.reported_finding or Outcome.NOT_ANALYSED),
        reported_by=(row.reported_model, row.reported_point),
    )
