"""Which processes live and are ready, told by themselves."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from service.storage.ledger.database import Database
from service.storage.ledger.tables import HEARTBEATS


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last sign of life of one process."""

    role: str  # listener, relay, infer, deliver or web
    holder: str
    ready: bool
    at: float  # seconds since the epoch


class Heartbeats:
    """Signs of life, one row per process."""

    def __init__(self, store: Database, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def beat(self, role: str, holder: str, *, ready: bool) -> None:
        """Say that this process lives, and whether it can do its work."""
        with self._store.write() as connection:
            connection.execute(delete(HEARTBEATS).where(HEARTBEATS.c.holder == holder))
            connection.execute(
                insert(HEARTBEATS).values(holder=holder, role=role, ready=ready, at=self._clock())
            )

    def alive(self, within_seconds: float) -> list[Heartbeat]:
        """List the processes that gave a sign of life lately."""
        since = self._clock() - within_seconds
        query = (
            select(HEARTBEATS)
            .where(HEARTBEATS.c.at >= since)
            .order_by(HEARTBEATS.c.role, HEARTBEATS.c.holder)
        )
        with self._store.read() as connection:
            return [
                Heartbeat(role=row.role, holder=row.holder, ready=row.ready, at=row.at)
                for row in connection.execute(query)
            ]

    def stop(self, holder: str) -> None:
        """Say that the processes whose name begins so are gone."""
        with self._store.write() as connection:
            connection.execute(
                delete(HEARTBEATS).where(HEARTBEATS.c.holder.startswith(holder, autoescape=True))
            )
