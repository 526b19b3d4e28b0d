"""What one destination's lane is given, fenced by attempt: parts of larger transactions."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, delete, select, update

from service.domain.delivery import Delivery, DeliveryState
from service.storage.ledger.mapping import StaleLeaseError, delivery_of, note
from service.storage.ledger.tables import BREAKERS, DELIVERIES, OUTPUTS, TRANSACTIONS

WITH_OUTPUT: Final[Select[Any]] = select(
    *DELIVERIES.c, OUTPUTS.c.sop_class_uid, OUTPUTS.c.sop_instance_uid
).join(OUTPUTS, (OUTPUTS.c.job_id == DELIVERIES.c.job_id) & (OUTPUTS.c.kind == DELIVERIES.c.kind))


def due_to(
    connection: Connection, destination: str, state: DeliveryState, limit: int, now: float
) -> list[Delivery]:
    """Lock the due deliveries of one state to a destination; none while its breaker is open."""
    if _open_until(connection, destination) > now:
        return []
    rows = connection.execute(
        WITH_OUTPUT.where(
            DELIVERIES.c.destination == destination,
            DELIVERIES.c.state == state,
            DELIVERIES.c.due_at <= now,
        )
        .order_by(DELIVERIES.c.due_at, DELIVERIES.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=DELIVERIES)
    ).all()
    return [delivery_of(row) for row in rows]


def take(
    connection: Connection,
    delivery: Delivery,
    holder: str,
    until: float,
    **values: Any,  # noqa: ANN401 -- columns
) -> Delivery:
    """Lease a delivery that `due_to` gave."""
    connection.execute(
        update(DELIVERIES)
        .where(DELIVERIES.c.id == delivery.id)
        .values(attempt=delivery.attempt + 1, holder=holder, due_at=until, **values)
    )
    return delivery_of(connection.execute(WITH_OUTPUT.where(DELIVERIES.c.id == delivery.id)).one())


def change(connection: Connection, delivery: Delivery, **values: Any) -> None:  # noqa: ANN401 -- columns
    """Write to a delivery as it was leased, and let go of it.

    Raises:
        StaleLeaseError: somebody else leased or answered it meanwhile; nothing was changed.
    """
    changed = connection.execute(
        update(DELIVERIES)
        .where(
            DELIVERIES.c.id == delivery.id,
            # SQLite gives the number of a row that was dropped to another
            DELIVERIES.c.job_id == delivery.job_id,
            DELIVERIES.c.kind == delivery.kind,
            DELIVERIES.c.destination == delivery.destination,
            DELIVERIES.c.attempt == delivery.attempt,
            DELIVERIES.c.state == delivery.state,
        )
        .values({"holder": None, **values})
    ).rowcount
    if changed != 1:
        raise StaleLeaseError(
            f"attempt {delivery.attempt} of delivery {delivery.id} is not the present one"
        )


def tell(
    connection: Connection, delivery: Delivery, at: float, name: str, **detail: str | None
) -> None:
    """Append what became of a delivery to its job's trace."""
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


def expect_no_answer(connection: Connection, delivery_ids: Sequence[int]) -> None:
    """Forget the transactions of deliveries that await no commitment any more."""
    connection.execute(delete(TRANSACTIONS).where(TRANSACTIONS.c.delivery_id.in_(delivery_ids)))


def close_breaker(connection: Connection, destination: str) -> None:
    """Try a destination again at once."""
    connection.execute(delete(BREAKERS).where(BREAKERS.c.destination == destination))


def _open_until(connection: Connection, destination: str) -> float:
    until = connection.execute(
        select(BREAKERS.c.open_until).where(BREAKERS.c.destination == destination)
    ).scalar()
    return until or 0.0
