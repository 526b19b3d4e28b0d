"""The commitment of destinations to what they took: asked for, awaited, answered (PS3.4 J)."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy import Connection, exists, insert, select

from service.domain.delivery import Delivery, DeliveryState, Reference
from service.domain.reasons import Reason
from service.storage.ledger.database import Database
from service.storage.ledger.delivery_plan import close_if_finished
from service.storage.ledger.leasing import (
    WITH_OUTPUT,
    change,
    close_breaker,
    due_to,
    expect_no_answer,
    take,
    tell,
)
from service.storage.ledger.mapping import StaleLeaseError, delivery_of
from service.storage.ledger.tables import DELIVERIES, TRANSACTIONS


class Commitments:
    """The deliveries that are stored, and the transactions by which their commitment was asked for.

    Whoever answers first wins: an answer ends the lease of the worker that asked.
    """

    def __init__(self, store: Database, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def lease(
        self,
        destination: str,
        holder: str,
        limit: int,
        *,
        transaction_uid: str,
        lease_seconds: float,
    ) -> list[Delivery]:
        """Take up to `limit` stored deliveries whose commitment is to be asked for now.

        An answer to the transaction is understood from here on, before it was even sent.
        """
        now = self._clock()
        with self._store.write() as connection:
            due = due_to(connection, destination, DeliveryState.STORED, limit, now)
            for each in due:
                connection.execute(
                    insert(TRANSACTIONS).values(
                        transaction_uid=transaction_uid, delivery_id=each.id
                    )
                )
            return [
                take(connection, each, holder, now + lease_seconds, transaction_uid=transaction_uid)
                for each in due
            ]

    def asked(self, deliveries: Sequence[Delivery], *, again_in: float) -> None:
        """Keep that the destination took the question; it is asked again if no answer comes."""
        now = self._clock()
        with self._store.write() as connection:
            for each in deliveries:
                if _still(connection, each, due_at=now + again_in):
                    tell(
                        connection,
                        each,
                        now,
                        "commitment-asked",
                        transaction_uid=each.transaction_uid,
                    )
                close_breaker(connection, each.destination)

    def put_off(self, deliveries: Sequence[Delivery], *, again_in: float, why: str) -> None:
        """Keep that the question did not get through; `why` is a word of ours."""
        now = self._clock()
        with self._store.write() as connection:
            for each in deliveries:
                if _still(connection, each, due_at=now + again_in):
                    tell(connection, each, now, "commitment-postponed", why=why)

    def is_awaited(self, transaction_uid: str) -> bool:
        """Tell whether a transaction is still to be answered, in whole or in part."""
        query = select(
            exists().where(
                DELIVERIES.c.id == TRANSACTIONS.c.delivery_id,
                TRANSACTIONS.c.transaction_uid == transaction_uid,
                DELIVERIES.c.state == DeliveryState.STORED,
            )
        )
        with self._store.read() as connection:
            return bool(connection.execute(query).scalar())

    def answered(
        self,
        transaction_uid: str,
        committed: Collection[Reference],
        failed: Mapping[Reference, int],
        *,
        again_in: Callable[[int], float],
        maximum_refusals: int,
    ) -> list[Delivery]:
        """Keep a destination's answer; gives the deliveries that it changed, as they stand now.

        What it committed itself to is delivered, whichever of our questions it answers. What it
        did not commit itself to is owed again, or parked after so many refusals; that only counts
        of the last question, because an earlier one may have been asked of an earlier copy.
        """
        now = self._clock()
        changed = []
        with self._store.write() as connection:
            for delivery in _of_transaction(connection, transaction_uid):
                failure = failed.get(delivery.sent) if delivery.sent else None
                if delivery.sent in committed:
                    _commit(connection, delivery, now)
                elif failure is None or delivery.transaction_uid != transaction_uid:
                    continue
                elif delivery.refusals + 1 >= maximum_refusals:
                    _give_up(connection, delivery, failure, now)
                else:
                    _owe_again(connection, delivery, failure, now, again_in)
                changed.append(delivery.id)
            rows = connection.execute(WITH_OUTPUT.where(DELIVERIES.c.id.in_(changed))).all()
            return [delivery_of(row) for row in rows]


def _of_transaction(connection: Connection, transaction_uid: str) -> list[Delivery]:
    """Give what a transaction asked for and is still stored, locked, in one order for everybody."""
    query = (
        WITH_OUTPUT.join(TRANSACTIONS, TRANSACTIONS.c.delivery_id == DELIVERIES.c.id)
        .where(
            TRANSACTIONS.c.transaction_uid == transaction_uid,
            DELIVERIES.c.state == DeliveryState.STORED,
        )
        .order_by(DELIVERIES.c.job_id, DELIVERIES.c.id)
        .with_for_update(of=DELIVERIES)
    )
    return [delivery_of(row) for row in connection.execute(query).all()]


def _commit(connection: Connection, delivery: Delivery, now: float) -> None:
    change(
        connection,
        delivery,
        state=DeliveryState.DELIVERED,
        attempt=delivery.attempt + 1,
        due_at=None,
        finished_at=now,
    )
    expect_no_answer(connection, [delivery.id])
    tell(connection, delivery, now, "output-committed")
    close_if_finished(connection, delivery.job_id, now)


def _owe_again(
    connection: Connection,
    delivery: Delivery,
    failure: int,
    now: float,
    again_in: Callable[[int], float],
) -> None:
    refusals = delivery.refusals + 1
    change(
        connection,
        delivery,
        state=DeliveryState.PENDING,
        attempt=delivery.attempt + 1,
        refusals=refusals,
        due_at=now + again_in(refusals),
        transaction_uid=None,
    )
    expect_no_answer(connection, [delivery.id])
    tell(connection, delivery, now, "output-not-committed", failure=f"0x{failure:04X}")


def _give_up(connection: Connection, delivery: Delivery, failure: int, now: float) -> None:
    change(
        connection,
        delivery,
        state=DeliveryState.PARKED,
        reason=Reason.NOT_COMMITTED,
        attempt=delivery.attempt + 1,
        refusals=delivery.refusals + 1,
        due_at=None,
    )
    expect_no_answer(connection, [delivery.id])
    tell(connection, delivery, now, "output-not-committed", failure=f"0x{failure:04X}")
    tell(connection, delivery, now, "output-parked", reason=Reason.NOT_COMMITTED)
    close_if_finished(connection, delivery.job_id, now)


def _still(connection: Connection, delivery: Delivery, *, due_at: float) -> bool:
    """Let go of a stored delivery until a moment; False when it was answered meanwhile."""
    try:
        change(connection, delivery, due_at=due_at)
    except StaleLeaseError:
        return False
    return True
