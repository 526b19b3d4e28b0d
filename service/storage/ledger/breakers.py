"""Circuit breakers: a destination that does not respond is not tried again for a while.

The functions are parts of larger transactions.
"""

from collections.abc import Callable, Collection

from sqlalchemy import Connection, delete, insert, select

from service.storage.ledger.tables import BREAKERS


def is_open(connection: Connection, destination: str, now: float) -> bool:
    """Return whether a destination must not be tried now."""
    until = connection.execute(
        select(BREAKERS.c.open_until).where(BREAKERS.c.destination == destination)
    ).scalar()
    return (until or 0.0) > now


def open_breaker(
    connection: Connection, destination: str, seconds: Callable[[int], float], now: float
) -> float:
    """Open a destination's breaker, or keep it open for longer.

    Args:
        connection: The transaction.
        destination: Name of the destination.
        seconds: Maps the number of consecutive failures (n >= 1) to a pause in seconds.
        now: Seconds since the epoch.

    Returns:
        The pause, in seconds.
    """
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
        insert(BREAKERS).values(destination=destination, failures=failures, open_until=now + pause)
    )
    return pause


def close_breakers(connection: Connection, destinations: Collection[str]) -> None:
    """Close the breakers of destinations, so that they are tried at once."""
    connection.execute(delete(BREAKERS).where(BREAKERS.c.destination.in_(destinations)))
