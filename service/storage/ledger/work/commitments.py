"""Storage commitment of destinations: requested, awaited, answered (PS3.4 annex J)."""

from collections.abc import Callable, Collection, Mapping, Sequence

from sqlalchemy import Connection, exists, insert, select

from service.domain.delivery import Delivery, DeliveryState, Reference
from service.domain.reasons import Reason
from service.storage.ledger.breakers import close_breakers
from service.storage.ledger.clock import Clock, Moment
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import (
    DELIVERIES_WITH_OUTPUT,
    append_delivery_event,
    delivery_of,
)
from service.storage.ledger.tables import DELIVERIES, TRANSACTIONS
from service.storage.ledger.work.deliveries import DeliveryQueue, lease_due
from service.storage.ledger.work.delivery_plan import close_if_finished, forget_transactions
from service.storage.ledger.work.leasing import LEASED_DELIVERIES, StaleLeaseError, Turns


class Commitments:
    """The stored deliveries, and the transactions that requested commitment to them.

    A result ends the lease of the worker that requested it: whichever is recorded first holds.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._turns = Turns()

    def lease(
        self,
        destination: str,
        holder: str,
        limit: int,
        *,
        transaction_uid: str,
        lease_seconds: float,
    ) -> list[Delivery]:
        """Lease up to `limit` stored deliveries whose commitment is to be requested now.

        A result of the transaction is accepted from here on, even before the request is sent.
        """
        now = self._clock()
        with self._database.write() as connection:
            queue = DeliveryQueue(
                destination,
                DeliveryState.STORED,
                urgent_first=self._turns.is_urgent_first(destination),
            )
            leased = lease_due(
                *(connection, queue, holder, limit, now.scheduled, lease_seconds),
                transaction_uid=transaction_uid,
            )
            if leased:
                connection.execute(
                    insert(TRANSACTIONS),
                    [
                        {"transaction_uid": transaction_uid, "delivery_id": each.id}
                        for each in leased
                    ],
                )
        return leased

    def asked(self, deliveries: Sequence[Delivery], *, again_in: float) -> None:
        """Record that the destination accepted the request; it is repeated without a result."""
        now = self._clock()
        with self._database.write() as connection:
            for each in deliveries:
                if _release_if_current(connection, each, due_at=now.scheduled + again_in):
                    append_delivery_event(
                        connection,
                        each,
                        now,
                        "commitment-asked",
                        transaction_uid=each.transaction_uid,
                    )
            close_breakers(connection, {each.destination for each in deliveries})

    def postpone(self, deliveries: Sequence[Delivery], *, again_in: float, why: str) -> None:
        """Record that the request failed; `why` is a fixed word, never text from the wire."""
        now = self._clock()
        with self._database.write() as connection:
            for each in deliveries:
                if _release_if_current(connection, each, due_at=now.scheduled + again_in):
                    append_delivery_event(connection, each, now, "commitment-postponed", why=why)

    def is_awaited(self, transaction_uid: str) -> bool:
        """Return whether a transaction still lacks a result for any of its deliveries."""
        query = select(
            exists().where(
                DELIVERIES.c.id == TRANSACTIONS.c.delivery_id,
                TRANSACTIONS.c.transaction_uid == transaction_uid,
                DELIVERIES.c.state == DeliveryState.STORED,
            )
        )
        with self._database.read() as connection:
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
        """Record a destination's result.

        A committed output is delivered, whichever of its transactions the result belongs to. A
        failed one is sent again, or parked after `maximum_refusals`; a failure counts for the
        latest transaction only, because an earlier one may be about an earlier copy.

        Args:
            transaction_uid: The transaction of the result.
            committed: The committed instances.
            failed: Failure reasons (PS3.3 C.14.1.1) by instance.
            again_in: Maps the number of refusals (n >= 1) to the seconds until the next attempt.
            maximum_refusals: Number of refusals after which an output is parked.

        Returns:
            The deliveries that changed, in their new state.
        """
        now = self._clock()
        changed = []
        with self._database.write() as connection:
            for delivery in _of_transaction(connection, transaction_uid):
                failure = failed.get(delivery.sent) if delivery.sent else None
                if delivery.sent in committed:
                    _commit(connection, delivery, now)
                elif failure is None or delivery.transaction_uid != transaction_uid:
                    continue
                elif delivery.refusals + 1 >= maximum_refusals:
                    _park(connection, delivery, failure, now)
                else:
                    _send_again(connection, delivery, failure, now, again_in)
                changed.append(delivery.id)
            rows = connection.execute(
                DELIVERIES_WITH_OUTPUT.where(DELIVERIES.c.id.in_(changed))
            ).all()
            return [delivery_of(row) for row in rows]


def _of_transaction(connection: Connection, transaction_uid: str) -> list[Delivery]:
    """Lock the stored deliveries of a transaction, in one order for every process."""
    query = (
        DELIVERIES_WITH_OUTPUT.join(TRANSACTIONS, TRANSACTIONS.c.delivery_id == DELIVERIES.c.id)
        .where(
            TRANSACTIONS.c.transaction_uid == transaction_uid,
            DELIVERIES.c.state == DeliveryState.STORED,
        )
        .order_by(DELIVERIES.c.job_id, DELIVERIES.c.id)
        .with_for_update(of=DELIVERIES)
    )
    return [delivery_of(row) for row in connection.execute(query).all()]


def _commit(connection: Connection, delivery: Delivery, now: Moment) -> None:
    LEASED_DELIVERIES.write_if_current(
        connection,
        delivery,
        state=DeliveryState.DELIVERED,
        attempt=delivery.attempt + 1,
        due_at=None,
        finished_at=now.wall,
    )
    forget_transactions(connection, [delivery.id])
    append_delivery_event(connection, delivery, now, "output-committed")
    close_if_finished(connection, delivery.job_id, now)


def _send_again(
    connection: Connection,
    delivery: Delivery,
    failure: int,
    now: Moment,
    again_in: Callable[[int], float],
) -> None:
    refusals = delivery.refusals + 1
    LEASED_DELIVERIES.write_if_current(
        connection,
        delivery,
        state=DeliveryState.PENDING,
        attempt=delivery.attempt + 1,
        refusals=refusals,
        due_at=now.scheduled + again_in(refusals),
        transaction_uid=None,
    )
    forget_transactions(connection, [delivery.id])
    append_delivery_event(
        connection, delivery, now, "output-not-committed", failure=f"0x{failure:04X}"
    )


def _park(connection: Connection, delivery: Delivery, failure: int, now: Moment) -> None:
    LEASED_DELIVERIES.write_if_current(
        connection,
        delivery,
        state=DeliveryState.PARKED,
        reason=Reason.NOT_COMMITTED,
        attempt=delivery.attempt + 1,
        refusals=delivery.refusals + 1,
        due_at=None,
    )
    forget_transactions(connection, [delivery.id])
    append_delivery_event(
        connection, delivery, now, "output-not-committed", failure=f"0x{failure:04X}"
    )
    append_delivery_event(connection, delivery, now, "output-parked", reason=Reason.NOT_COMMITTED)
    close_if_finished(connection, delivery.job_id, now)


def _release_if_current(connection: Connection, delivery: Delivery, *, due_at: float) -> bool:
    """End the lease of a stored delivery; return False if a result arrived in the meantime."""
    try:
        LEASED_DELIVERIES.write_if_current(connection, delivery, due_at=due_at)
    except StaleLeaseError:
        return False
    return True
