"""What is owed to which destination, and how each destination has been answering."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, delete, insert, select, update

from service.job import Delivery, DeliveryState
from service.ledger.owing import settle
from service.ledger.rows import StaleLeaseError, delivery_of, note
from service.ledger.store import Store
from service.ledger.tables import BREAKERS, DELIVERIES, OUTPUTS
from service.reasons import Reason

WITH_OUTPUT: Final[Select[Any]] = select(
    *DELIVERIES.c, OUTPUTS.c.sop_class_uid, OUTPUTS.c.sop_instance_uid
).join(OUTPUTS, (OUTPUTS.c.job_id == DELIVERIES.c.job_id) & (OUTPUTS.c.kind == DELIVERIES.c.kind))


class Deliveries:
    """One row per job, output and destination; fenced by attempt like the jobs."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def lease(
        self, destination: str, holder: str, limit: int, *, lease_seconds: float
    ) -> list[Delivery]:
        """Take up to `limit` due deliveries to one destination; none while its breaker is open."""
        now = self._clock()
        with self._store.write() as connection:
            if _open_until(connection, destination) > now:
                return []
            rows = connection.execute(
                WITH_OUTPUT.where(
                    DELIVERIES.c.destination == destination,
                    DELIVERIES.c.state == DeliveryState.PENDING,
                    DELIVERIES.c.due_at <= now,
                )
                .order_by(DELIVERIES.c.due_at, DELIVERIES.c.id)
                .limit(limit)
                .with_for_update(skip_locked=True, of=DELIVERIES)
            ).all()
            return [
                self._lease(connection, delivery_of(row), holder, now + lease_seconds)
                for row in rows
            ]

    @staticmethod
    def _lease(connection: Connection, delivery: Delivery, holder: str, until: float) -> Delivery:
        connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.id == delivery.id)
            .values(attempt=delivery.attempt + 1, holder=holder, due_at=until)
        )
        row = connection.execute(WITH_OUTPUT.where(DELIVERIES.c.id == delivery.id)).one()
        return delivery_of(row)

    def delivered(self, delivery: Delivery, *, status: int) -> None:
        """Keep that the destination took the output; the job ends when it was the last.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            self._fenced(
                connection,
                delivery,
                state=DeliveryState.DELIVERED,
                status=status,
                reason=None,
                due_at=None,
                finished_at=now,
            )
            self._note(connection, delivery, now, "output-delivered", status=f"0x{status:04X}")
            _close_breaker(connection, delivery.destination)
            settle(connection, delivery.job_id, now)

    def refused(
        self, delivery: Delivery, *, status: int, again_in: float, counts: bool = True
    ) -> None:
        """Keep that the destination answered with a failure; due again after `again_in` seconds.

        A failure that only says "not now" does not count as a refusal.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            self._fenced(
                connection,
                delivery,
                status=status,
                refusals=delivery.refusals + counts,
                due_at=now + again_in,
            )
            self._note(connection, delivery, now, "output-refused", status=f"0x{status:04X}")
            _close_breaker(connection, delivery.destination)

    def unreached(self, delivery: Delivery, *, again_in: float, why: str) -> None:
        """Give a delivery back whose destination did not answer; `why` is a word of ours.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            self._fenced(connection, delivery, due_at=now + again_in)
            self._note(connection, delivery, now, "output-postponed", why=why)

    def park(self, delivery: Delivery, reason: Reason, *, status: int | None = None) -> None:
        """Give a delivery up until a person requeues its job.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            self._fenced(
                connection,
                delivery,
                state=DeliveryState.PARKED,
                reason=reason,
                due_at=None,
                status=delivery.status if status is None else status,
            )
            self._note(connection, delivery, now, "output-parked", reason=reason)
            settle(connection, delivery.job_id, now)

    def release(self, holder: str) -> int:
        """Give back what dead workers held whose name begins so, due at once."""
        now = self._clock()
        with self._store.write() as connection:
            rows = connection.execute(
                update(DELIVERIES)
                .where(
                    DELIVERIES.c.holder.startswith(holder, autoescape=True),
                    DELIVERIES.c.state == DeliveryState.PENDING,
                )
                .values(holder=None, due_at=now)
                .returning(DELIVERIES.c.job_id, DELIVERIES.c.kind, DELIVERIES.c.destination)
            ).all()
            for row in rows:
                note(
                    connection,
                    row.job_id,
                    now,
                    "output-lease-released",
                    kind=row.kind,
                    destination=row.destination,
                )
        return len(rows)

    def open_breaker(self, destination: str, seconds: Callable[[int], float]) -> float:
        """Leave a silent destination alone; gives for how long.

        `seconds` turns the number of failures in a row (n >= 1) into a time.
        """
        now = self._clock()
        with self._store.write() as connection:
            failures = 1 + (
                connection.execute(
                    select(BREAKERS.c.failures)
                    .where(BREAKERS.c.destination == destination)
                    .with_for_update()
                ).scalar()
                or 0
            )
            pause = seconds(failures)
            connection.execute(delete(BREAKERS).where(BREAKERS.c.destination == destination))
            connection.execute(
                insert(BREAKERS).values(
                    destination=destination, failures=failures, open_until=now + pause
                )
            )
        return pause

    def close_breaker(self, destination: str) -> None:
        """Try a destination again at once: it answered, or a person says it will."""
        with self._store.write() as connection:
            _close_breaker(connection, destination)

    def park_unknown(self, destinations: Sequence[str]) -> int:
        """Park what is owed to destinations that are no longer configured."""
        now = self._clock()
        with self._store.write() as connection:
            rows = connection.execute(
                update(DELIVERIES)
                .where(
                    DELIVERIES.c.state == DeliveryState.PENDING,
                    DELIVERIES.c.destination.not_in(destinations),
                )
                .values(
                    state=DeliveryState.PARKED,
                    reason=Reason.DESTINATION_REMOVED,
                    due_at=None,
                    holder=None,
                    attempt=DELIVERIES.c.attempt + 1,
                )
                .returning(DELIVERIES.c.job_id, DELIVERIES.c.kind, DELIVERIES.c.destination)
            ).all()
            for row in rows:
                note(
                    connection,
                    row.job_id,
                    now,
                    "output-parked",
                    kind=row.kind,
                    destination=row.destination,
                    reason=Reason.DESTINATION_REMOVED,
                )
                settle(connection, row.job_id, now)
        return len(rows)

    @staticmethod
    def _note(
        connection: Connection, delivery: Delivery, at: float, name: str, **detail: str | None
    ) -> None:
        note(
            connection,
            delivery.job_id,
            at,
            name,
            kind=delivery.kind,
            destination=delivery.destination,
            attempt=delivery.attempt,
            **detail,
        )

    @staticmethod
    def _fenced(connection: Connection, delivery: Delivery, **values: Any) -> None:  # noqa: ANN401 -- columns
        changed = connection.execute(
            update(DELIVERIES)
            .where(
                DELIVERIES.c.id == delivery.id,
                # SQLite gives the number of a row that was dropped to another
                DELIVERIES.c.job_id == delivery.job_id,
                DELIVERIES.c.kind == delivery.kind,
                DELIVERIES.c.destination == delivery.destination,
                DELIVERIES.c.attempt == delivery.attempt,
                DELIVERIES.c.state == DeliveryState.PENDING,
            )
            .values(holder=None, **values)
        ).rowcount
        if changed != 1:
            raise StaleLeaseError(
                f"attempt {delivery.attempt} of delivery {delivery.id} is not the present one"
            )


def _open_until(connection: Connection, destination: str) -> float:
    until = connection.execute(
        select(BREAKERS.c.open_until).where(BREAKERS.c.destination == destination)
    ).scalar()
    return until or 0.0


def _close_breaker(connection: Connection, destination: str) -> None:
    connection.execute(delete(BREAKERS).where(BREAKERS.c.destination == destination))
