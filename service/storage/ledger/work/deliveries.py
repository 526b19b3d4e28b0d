"""Deliveries: lease, record each attempt's outcome, park, release."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select, update

from service.domain.delivery import IN_FLIGHT, Delivery, DeliveryState, Reference
from service.domain.reasons import Reason
from service.storage.ledger import breakers
from service.storage.ledger.clock import Clock, Moment
from service.storage.ledger.database import Database
from service.storage.ledger.mapping import (
    DELIVERIES_WITH_OUTPUT,
    append_delivery_event,
    append_event,
    append_events,
    delivery_event_row,
    delivery_of,
    event_row,
)
from service.storage.ledger.tables import DELIVERIES
from service.storage.ledger.work.delivery_plan import close_if_finished, forget_transactions
from service.storage.ledger.work.leasing import LEASED_DELIVERIES, StaleLeaseError, Turns


@dataclass(frozen=True, slots=True)
class DeliveryQueue:
    """The deliveries to one destination in one state, and which of them come first."""

    destination: str
    state: DeliveryState  # pending, or stored and not committed
    urgent_first: bool = field(kw_only=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """An output that its destination has."""

    delivery: Delivery  # as leased
    status: int | None  # the DIMSE status; None where there was none
    sent: Reference | None = None  # where it is another instance than the output


class Deliveries:
    """The deliveries, one row per job, output and destination; leased like the jobs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._turns = Turns()

    def lease(
        self, destination: str, holder: str, limit: int, *, lease_seconds: float
    ) -> list[Delivery]:
        """Lease up to `limit` due deliveries to one destination; none while its breaker is open."""
        now = self._clock().scheduled
        with self._database.write() as connection:
            queue = DeliveryQueue(
                destination,
                DeliveryState.PENDING,
                urgent_first=self._turns.is_urgent_first(destination),
            )
            return lease_due(connection, queue, holder, limit, now, lease_seconds)

    def renew(self, delivery: Delivery, lease_seconds: float) -> None:
        """Let the lease of a delivery expire `lease_seconds` from now: its work has made progress.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        until = self._clock().scheduled + lease_seconds
        with self._database.write() as connection:
            LEASED_DELIVERIES.renew(connection, delivery, until)

    def delivered(
        self, delivery: Delivery, *, status: int | None, sent: Reference | None = None
    ) -> None:
        """Record that the destination has the output; close the job when it was the last.

        Args:
            delivery: The delivery as leased.
            status: The DIMSE status, or None where there was none.
            sent: The instance that was sent, where it is another than the output.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        answer = Acknowledged(delivery=delivery, status=status, sent=sent)
        if not self.delivered_together([answer]):
            raise StaleLeaseError(
                f"attempt {delivery.attempt} of delivery {delivery.id} is no longer current"
            )

    def delivered_together(self, answers: Sequence[Acknowledged]) -> list[Delivery]:
        """Record that destinations have several outputs, in one transaction, as `delivered` does.

        Returns:
            Those whose lease is current; of the others nothing was changed.
        """
        now = self._clock()
        # two workers that lock jobs in different orders would wait for each other
        ordered = sorted(answers, key=lambda each: each.delivery.job_id)
        current: list[Acknowledged] = []
        with self._database.write() as connection:
            for answer in ordered:
                with contextlib.suppress(StaleLeaseError):
                    _write_delivered(connection, answer, now)
                    current.append(answer)
            deliveries = [each.delivery for each in current]
            forget_transactions(connection, [each.id for each in deliveries])
            append_events(connection, [_delivered_event(each, now) for each in current])
            breakers.close_breakers(connection, {each.destination for each in deliveries})
            for job_id in dict.fromkeys(each.job_id for each in deliveries):
                close_if_finished(connection, job_id, now)
        return deliveries

    def stored(self, delivery: Delivery, *, status: int, sent: Reference) -> None:
        """Record that the destination stored the output; the commitment request is due at once.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            LEASED_DELIVERIES.write_if_current(
                connection,
                delivery,
                state=DeliveryState.STORED,
                status=status,
                due_at=now.scheduled,
                since=now.scheduled,
                transaction_uid=None,
                **_sent_columns(sent),
            )
            append_delivery_event(
                connection, delivery, now, "output-stored", status=_hexadecimal(status)
            )
            breakers.close_breakers(connection, [delivery.destination])

    def refused(
        self, delivery: Delivery, *, status: int, again_in: float, counts: bool = True
    ) -> None:
        """Record a failure status; the delivery is due again in `again_in` seconds.

        Args:
            delivery: The delivery as leased.
            status: The DIMSE status.
            again_in: Seconds until the next attempt.
            counts: Whether it counts as a refusal; a temporary failure does not.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            LEASED_DELIVERIES.write_if_current(
                connection,
                delivery,
                status=status,
                refusals=delivery.refusals + counts,
                due_at=now.scheduled + again_in,
            )
            append_delivery_event(
                connection, delivery, now, "output-refused", status=_hexadecimal(status)
            )
            breakers.close_breakers(connection, [delivery.destination])

    def unreached(self, delivery: Delivery, *, again_in: float, why: str) -> None:
        """Release a delivery whose destination did not respond, due again in `again_in` seconds.

        `why` is a fixed word, never text from the wire.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            LEASED_DELIVERIES.write_if_current(
                connection, delivery, due_at=now.scheduled + again_in
            )
            append_delivery_event(connection, delivery, now, "output-postponed", why=why)

    def park(self, delivery: Delivery, reason: Reason, *, status: int | None = None) -> None:
        """Park a delivery until a person requeues its job.

        Raises:
            StaleLeaseError: The lease is no longer current; nothing was changed.
        """
        now = self._clock()
        with self._database.write() as connection:
            LEASED_DELIVERIES.write_if_current(
                connection,
                delivery,
                state=DeliveryState.PARKED,
                reason=reason,
                due_at=None,
                status=delivery.status if status is None else status,
            )
            forget_transactions(connection, [delivery.id])
            append_delivery_event(connection, delivery, now, "output-parked", reason=reason)
            close_if_finished(connection, delivery.job_id, now)

    def release(self, holder: str) -> int:
        """End the leases of processes whose name begins with `holder`; return how many."""
        now = self._clock()
        with self._database.write() as connection:
            rows = LEASED_DELIVERIES.release(connection, holder, now.scheduled)
            append_events(
                connection,
                (
                    event_row(
                        row.job_id,
                        now,
                        "output-lease-released",
                        kind=row.kind,
                        destination=row.destination,
                    )
                    for row in rows
                ),
            )
        return len(rows)

    def open_breaker(self, destination: str, seconds: Callable[[int], float]) -> float:
        """Pause a destination that does not respond; return the pause in seconds.

        `seconds` maps the number of consecutive failures (n >= 1) to a pause.
        """
        now = self._clock()
        with self._database.write() as connection:
            return breakers.open_breaker(connection, destination, seconds, now.scheduled)

    def close_breaker(self, destination: str) -> None:
        """Let a destination be tried at once."""
        with self._database.write() as connection:
            breakers.close_breakers(connection, [destination])

    def park_unknown(self, destinations: Sequence[str]) -> int:
        """Park the deliveries to destinations other than these; return how many."""
        now = self._clock()
        with self._database.read() as connection:
            removed = set(in_flight_destinations(connection)) - set(destinations)
        if not removed:
            return 0
        with self._database.write() as connection:
            rows = connection.execute(
                update(DELIVERIES)
                .where(
                    DELIVERIES.c.due_at.is_not(None),  # in flight; for the index
                    DELIVERIES.c.state.in_(IN_FLIGHT),
                    DELIVERIES.c.destination.in_(removed),
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
            forget_transactions(connection, [row.id for row in rows])
            for row in rows:
                append_event(
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


def _write_delivered(connection: Connection, answer: Acknowledged, now: Moment) -> None:
    """Write to a delivery that its destination has the output.

    Raises:
        StaleLeaseError: The lease is no longer current; nothing was changed.
    """
    delivery, status = answer.delivery, answer.status
    LEASED_DELIVERIES.write_if_current(
        connection,
        delivery,
        state=DeliveryState.DELIVERED,
        status=delivery.status if status is None else status,
        reason=None,
        due_at=None,
        finished_at=now.wall,
        **_sent_columns(answer.sent or delivery.sent),
    )


def _delivered_event(answer: Acknowledged, now: Moment) -> dict[str, Any]:
    return delivery_event_row(
        answer.delivery, now, "output-delivered", status=_hexadecimal(answer.status)
    )


def in_flight_destinations(connection: Connection) -> list[str]:
    """List the destinations with a delivery in flight: one step along the index for each."""
    name = DELIVERIES.c.destination
    query = select(name).where(DELIVERIES.c.due_at.is_not(None)).order_by(name).limit(1)
    found: list[str] = []
    following = connection.execute(query).scalar()
    while following is not None:
        found.append(following)
        following = connection.execute(query.where(name > following)).scalar()
    return found


def lease_due(
    connection: Connection,
    queue: DeliveryQueue,
    holder: str,
    limit: int,
    now: float,
    lease_seconds: float,
    **values: Any,  # noqa: ANN401 -- columns
) -> list[Delivery]:
    """Lease due deliveries of a queue; none while the breaker of its destination is open.

    Args:
        connection: The transaction.
        queue: The deliveries to one destination in one state.
        holder: Name of the process that works on them.
        limit: At most so many.
        now: Of the scheduling clock.
        lease_seconds: How long the leases last.
        **values: Further columns to write.

    Returns:
        The deliveries as leased, in the order of sending.
    """
    if breakers.is_open(connection, queue.destination, now):
        return []
    query = DELIVERIES_WITH_OUTPUT.where(
        DELIVERIES.c.destination == queue.destination, DELIVERIES.c.state == queue.state
    )
    locked = LEASED_DELIVERIES.lock_due(
        connection, query, now, limit, urgent_first=queue.urgent_first
    )
    if not locked:
        return []
    deliveries = [delivery_of(row) for row in locked]
    rows = LEASED_DELIVERIES.lease(connection, deliveries, holder, now + lease_seconds, **values)
    return [
        replace(
            each,
            attempt=row.attempt,
            holder=row.holder,
            due_at=row.due_at,
            transaction_uid=row.transaction_uid,
        )
        for each, row in zip(deliveries, rows, strict=True)
    ]


def _sent_columns(sent: Reference | None) -> dict[str, str]:
    """Return the columns that name the sent instance; none where it is unknown."""
    if sent is None:
        return {}
    return {
        "sent_sop_class_uid": sent.sop_class_uid,
        "sent_sop_instance_uid": sent.sop_instance_uid,
    }


def _hexadecimal(status: int | None) -> str | None:
    return None if status is None else f"0x{status:04X}"
