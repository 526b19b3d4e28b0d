"""Heartbeats: which processes run and are ready."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from service.storage.ledger.clock import Clock
from service.storage.ledger.database import Database
from service.storage.ledger.tables import HEARTBEATS


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The latest heartbeat of one process."""

    role: str  # listener, relay, infer, deliver or web
    holder: str
    ready: bool
    progress: bool  # False: its work is stuck
    at: float  # by the scheduling clock

    @property
    def machine(self) -> str:
        """The host name of its machine."""
        return self.holder.partition("/")[0]

    @property
    def pid(self) -> str:
        """Its process id on that machine."""
        return self.holder.rstrip("/").rpartition("/")[2]


class Heartbeats:
    """The latest heartbeats, one row per process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        sync: Callable[[Connection], float | None] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._sync = sync

    def beat(self, role: str, holder: str, *, ready: bool, progress: bool = True) -> float | None:
        """Record that this process runs, whether it is ready and whether it makes progress.

        Returns:
            By how many seconds the wall clock was set, to the process of the machine that sees it
            first; else None.
        """
        now = self._clock().scheduled
        with self._database.write() as connection:
            connection.execute(delete(HEARTBEATS).where(HEARTBEATS.c.holder == holder))
            connection.execute(
                insert(HEARTBEATS).values(
                    holder=holder, role=role, ready=ready, progress=progress, at=now
                )
            )
            return None if self._sync is None else self._sync(connection)

    def alive(self, within_seconds: float) -> list[Heartbeat]:
        """List the heartbeats of the last `within_seconds`."""
        since = self._clock().scheduled - within_seconds
        query = (
            select(HEARTBEATS)
            .where(HEARTBEATS.c.at >= since)
            .order_by(HEARTBEATS.c.role, HEARTBEATS.c.holder)
        )
        with self._database.read() as connection:
            return [
                Heartbeat(
                    role=row.role,
                    holder=row.holder,
                    ready=row.ready,
                    progress=row.progress,
                    at=row.at,
                )
                for row in connection.execute(query)
            ]

    def stop(self, holder: str) -> None:
        """Delete the heartbeats of the processes whose name begins with `holder`."""
        with self._database.write() as connection:
            connection.execute(
                delete(HEARTBEATS).where(HEARTBEATS.c.holder.startswith(holder, autoescape=True))
            )
