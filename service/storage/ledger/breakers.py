"""Circuit breakers: what does not work is not tried again for a while.

There is one for each destination, and one for the infer workers of each machine. A breaker without
a row is closed. It is open until a time and then half-open: the next try closes it, or opens it for
longer. The functions are parts of larger transactions.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from service.storage.faults import Fault
from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.tables import BREAKERS

_CLOSE: Final = delete(BREAKERS).where(BREAKERS.c.name.in_(bindparam("names", expanding=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A breaker that is open or half-open."""

    name: str  # of a destination; of infer workers, the beginning of their holders' names
    is_open: bool  # False: half-open
    failures: int  # in a row
    open_until: float  # of the scheduling clock
    fault: Fault | None  # of the environment; None for a destination


class Breakers:
    """The breakers that are not closed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def open(self, name: str, seconds: Callable[[int], float], fault: Fault) -> Breaker | None:
        """Open a breaker, for longer each time; return it, or None if it was open already.

        `seconds` maps the number of consecutive failures (n >= 1) to a pause.
        """
        now = self._clock().scheduled
        query = select(BREAKERS).where(BREAKERS.c.name == name)
        with self._database.write() as connection:
            row = connection.execute(query.with_for_update()).one_or_none()
            if row is not None and row.open_until > now:
                return None
            open_breaker(connection, name, seconds, now, fault=fault)
            row = connection.execute(query).one()
        return _breaker_of(row, now)

    def close(self, name: str) -> None:
        """Close a breaker."""
        with self._database.write() as connection:
            close_breakers(connection, [name])

    def close_if_same(self, breaker: Breaker) -> bool:
        """Close a breaker unless it was closed or opened anew since it was read; return whether."""
        same = (BREAKERS.c.name == breaker.name, BREAKERS.c.open_until == breaker.open_until)
        with self._database.write() as connection:
            return bool(connection.execute(delete(BREAKERS).where(*same)).rowcount)

    def get(self, name: str) -> Breaker | None:
        """Return a breaker; None if it is closed."""
        return next((each for each in self.not_closed() if each.name == name), None)

    def not_closed(self, within_seconds: float | None = None) -> list[Breaker]:
        """List the breakers that are not closed.

        Args:
            within_seconds: Leave out those that have been half-open for longer, because nothing
                that they hold up was due since.
        """
        now = self._clock().scheduled
        query = select(BREAKERS).order_by(BREAKERS.c.name)
        if within_seconds is not None:
            query = query.where(BREAKERS.c.open_until > now - within_seconds)
        with self._database.read() as connection:
            return [_breaker_of(row, now) for row in connection.execute(query)]


def is_open(connection: Connection, name: str, now: float) -> bool:
    """Return whether a breaker is open: what it is for must not be tried now."""
    until = connection.execute(
        select(BREAKERS.c.open_until).where(BREAKERS.c.name == name)
    ).scalar()
    return (until or 0.0) > now


def open_breaker(
    connection: Connection,
    name: str,
    seconds: Callable[[int], float],
    now: float,
    *,
    fault: Fault | None = None,
) -> float:
    """Open a breaker, or keep it open for longer.

    Args:
        connection: The transaction.
        name: Name of the breaker.
        seconds: Maps the number of consecutive failures (n >= 1) to a pause in seconds.
        now: Seconds since the epoch.
        fault: Why it opens, unless it is a destination's.

    Returns:
        The pause, in seconds.
    """
    failures = connection.execute(
        select(BREAKERS.c.failures).where(BREAKERS.c.name == name).with_for_update()
    ).scalar()
    pause = seconds((failures or 0) + 1)
    values = {"failures": (failures or 0) + 1, "open_until": now + pause, "fault": fault}
    # a row is updated and not replaced: who waits for its lock would find none
    if failures is None:
        connection.execute(insert(BREAKERS).values(name=name, **values))
    else:
        connection.execute(update(BREAKERS).where(BREAKERS.c.name == name).values(values))
    return pause


def close_breakers(connection: Connection, names: Collection[str]) -> None:
    """Close breakers, so that what they are for is tried at once."""
    connection.execute(_CLOSE, {"names": list(names)})


def _breaker_of(row: Row[Any], now: float) -> Breaker:
    return Breaker(
        name=row.name,
        is_open=row.open_until > now,
        failures=row.failures,
        open_until=row.open_until,
        fault=Fault(row.fault) if row.fault else None,
    )
