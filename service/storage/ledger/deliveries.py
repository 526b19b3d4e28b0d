"""What is owed to which destination, and how each destination has been answering."""

import time
from collections.abc import Callable, Sequence

from sqlalchemy import delete, insert, select, update

from service.domain.delivery import ON_ITS_WAY, Delivery, DeliveryState, Reference
from service.domain.reasons import Reason
from service.storage.ledger.database import Database
from service.storage.ledger.delivery_plan import close_if_finished
from service.storage.ledger.leasing import (
    change,
    close_breaker,
    due_to,
    expect_no_answer,
    take,
    tell,
)
from service.storage.ledger.mapping import note
from service.storage.ledger.tables import BREAKERS, DELIVERIES


class Deliveries:
    """One row per job, output and destination; fenced by attempt like the jobs."""

    def __init__(self, store: Database, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def lease(
        self, destination: str, holder: str, limit: int, *, lease_seconds: float
    ) -> list[Delivery]:
        """Take up to `limit` due deliveries to one destination; none while its breaker is open."""
        now = self._clock()
        with self._store.write() as connection:
            due = due_to(connection, destination, DeliveryState.PENDING, limit, now)
            return [take(connection, each, holder, now + lease_seconds) for each in due]

    def delivered(
        self, delivery: Delivery, *, status: int | None, sent: Reference | None = None
    ) -> None:
        """Keep that the destination has the output; the job ends when it was the last.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            change(
                connection,
                delivery,
                state=DeliveryState.DELIVERED,
                status=delivery.status if status is None else status,
                reason=None,
                due_at=None,
                finished_at=now,
                **_names(sent or delivery.sent),
            )
            expect_no_answer(connection, [delivery.id])
            tell(connection, delivery, now, "output-delivered", status=_hexadecimal(status))
            close_breaker(connection, delivery.destination)
            close_if_finished(connection, delivery.job_id, now)

    def stored(self, delivery: Delivery, *, status: int, sent: Reference) -> None:
        """Keep that the destination took the output and will be asked at once to commit itself.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            change(
                connection,
                delivery,
                state=DeliveryState.STORED,
                status=status,
                due_at=now,
                since=now,
                transaction_uid=None,
                **_names(sent),
            )
            tell(connection, delivery, now, "output-stored", status=_hexadecimal(status))
            close_breaker(connection, delivery.destination)

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
            change(
                connection,
                delivery,
                status=status,
                refusals=delivery.refusals + counts,
                due_at=now + again_in,
            )
            tell(connection, delivery, now, "output-refused", status=_hexadecimal(status))
            close_breaker(connection, delivery.destination)

    def unreached(self, delivery: Delivery, *, again_in: float, why: str) -> None:
        """Give a delivery back whose destination did not answer; `why` is a word of ours.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            change(connection, delivery, due_at=now + again_in)
            tell(connection, delivery, now, "output-postponed", why=why)

    def park(self, delivery: Delivery, reason: Reason, *, status: int | None = None) -> None:
        """Give a delivery up until a person requeues its job.

        Raises:
            StaleLeaseError: somebody else leased the delivery meanwhile; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as connection:
            change(
                connection,
                delivery,
                state=DeliveryState.PARKED,
                reason=reason,
                due_at=None,
                status=delivery.status if status is None else status,
            )
            expect_no_answer(connection, [delivery.id])
            tell(connection, delivery, now, "output-parked", reason=reason)
            close_if_finished(connection, delivery.job_id, now)

    def release(self, holder: str) -> int:
        """Give back what dead workers held whose name begins so, due at once."""
        now = self._clock()
        with self._store.write() as connection:
            rows = connection.execute(
                update(DELIVERIES)
                .where(
                    DELIVERIES.c.holder.startswith(holder, autoescape=True),
                    DELIVERIES.c.state.in_(ON_ITS_WAY),
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
            close_breaker(connection, destination)

    def park_unknown(self, destinations: Sequence[str]) -> int:
        """Park what is on its way to destinations that are no longer configured."""
        now = self._clock()
        with self._store.write() as connection:
            rows = connection.execute(
                update(DELIVERIES)
                .where(
                    DELIVERIES.c.state.in_(ON_ITS_WAY),
                    DELIVERIES.c.destination.not_in(destinations),
                )
                .values(
                    state=DeliveryState.PARKED,
                    reason=Reason.DESTINATION_REMOVED,
                    due_at=None,
                    holder=None,
                    attempt=DELIVERIES.c.attempt + 1,
                )
                .returning(
                    DELIVERIES.c.id,
                    DELIVERIES.c.job_id,
                    DELIVERIES.c.kind,
                    DELIVERIES.c.destination,
                )
            ).all()
            expect_no_answer(connection, [row.id for row in rows])
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
                close_if_finished(connection, row.job_id, now)
        return len(rows)


def _names(sent: Reference | None) -> dict[str, str]:
    """Name what the destination has, where that is known."""
    if sent is None:
        return {}
    return {
        "sent_sop_class_uid": sent.sop_class_uid,
        "sent_sop_instance_uid": sent.sop_instance_uid,
    }


def _hexadecimal(status: int | None) -> str | None:
    return None if status is None else f"0x{status:04X}"
