"""The scheduling clock: the time by which the ledger decides, apart from the one people read.

The wall clock of a machine may be set at any time, by hours or years and in both directions. What
is due, leased, given up or kept too long therefore counts by a clock of the ledger's own. Within
one boot of a machine it is CLOCK_BOOTTIME (clock_gettime(2)), which nobody sets, plus one number
that the ledger keeps, so that all processes of the machine agree. While a machine is off, the
difference of two readings of the database's clock counts, up to a day. While it runs, scheduling
time approaches the wall clock by at most a hundredth of the time that passes.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.tables import CLOCKS

JUMP_SECONDS: Final = 2.0  # a smaller step of the wall clock is not reported
LONGEST_OFF_SECONDS: Final = 86_400.0  # of the time that a machine was off, at most this counts
SLEW: Final = 0.01  # by which scheduling time may run faster or slower than time passes
SYNC_SECONDS: Final = 10.0  # between two notes of how far scheduling time is
_ADOPT_SECONDS: Final = 60.0  # a process without heartbeats looks so often
# no process that is counted as running goes without a note for longer (heartbeats)
_UNNOTED_SECONDS: Final = 2 * SYNC_SECONDS
_KEPT_SECONDS: Final = 30 * 86_400.0  # a boot that was seen last before then is forgotten


class Moment(NamedTuple):
    """One reading of both clocks, in seconds since the epoch."""

    wall: float  # for people: what is recorded and shown
    scheduled: float  # for decisions: due, leased, given up, kept


Clock = Callable[[], Moment]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineClocks:
    """The clocks of a machine, and the name of its present boot."""

    wall: Callable[[], float]
    awake: Callable[[], float]  # seconds since the boot, in suspension too; nobody can set it
    boot: str

    @classmethod
    def of_this_machine(cls) -> Self:
        """Return those of this machine, as this process sees them."""
        return cls(
            wall=time.time, awake=partial(time.clock_gettime, time.CLOCK_BOOTTIME), boot=_boot()
        )


class SchedulingClock:
    """Reads both clocks; keeps scheduling time in step with the ledger's other processes.

    Reading may begin before `sync`: the first reading asks the ledger. No reading is behind an
    earlier one of the same process.
    """

    def __init__(self, database: Database, machine: MachineClocks) -> None:
        self._database = database
        self._wall = machine.wall
        self._awake = machine.awake
        self._boot = machine.boot[:64]
        self._boot_at = 0.0  # scheduling time at the machine's boot, once it is known
        self._adopt_at: float | None = None  # by the awake clock: when to ask for it again
        self._floor = 0.0  # scheduling time when it was last set back a little

    def __call__(self) -> Moment:
        """Read both clocks.

        Raises:
            LedgerError: The ledger, which was not asked before, does not answer.
        """
        awake = self._awake()
        if self._adopt_at is None:
            self.start()
        elif awake > self._adopt_at:
            self._adopt_at = awake + _ADOPT_SECONDS  # also if the ledger does not answer
            with suppress(LedgerError):  # what was read before holds
                self.start()
        return Moment(self._wall(), max(awake + self._boot_at, self._floor))

    def start(self) -> None:
        """Learn from the ledger what scheduling time it is; safe to repeat.

        Raises:
            LedgerError: The ledger does not answer.
        """
        with self._database.read() as connection:
            row = _row(connection, self._boot)
        if row is None:
            with suppress(LedgerError):  # another process of this boot was first, or see below
                self._anchor()
            with self._database.read() as connection:
                row = _row(connection, self._boot)
        if row is None:
            raise LedgerError("the ledger did not keep what scheduling time it is")
        self._set(row.boot_at)

    def sync(self, connection: Connection) -> float | None:
        """Note how far scheduling time is, and adopt what other processes noted.

        Args:
            connection: A transaction that writes.

        Returns:
            By how many seconds the wall clock was set since a process of this machine last looked,
            to the process that sees it first; None to all others, and if it was not.
        """
        row = _row(connection, self._boot)
        if row is None:  # the ledger was restored from a copy of before this boot
            self._insert(connection)
            return None
        self._set(row.boot_at)
        wall_boot_at = self._wall() - self._awake()
        is_noted = -JUMP_SECONDS < self._scheduled() - row.seen_at < SYNC_SECONDS
        if is_noted and abs(wall_boot_at - row.wall_boot_at) < JUMP_SECONDS:
            return None
        row = _row(connection, self._boot, for_update=True)
        if row is None:
            return None
        self._set(row.boot_at)
        now = self._scheduled()
        jump = wall_boot_at - float(row.wall_boot_at)
        boot_at = self._corrected(connection, row, now, wall_boot_at)
        connection.execute(
            update(CLOCKS)
            .where(CLOCKS.c.boot == self._boot)
            .values(
                boot_at=boot_at,
                seen_at=max(now, boot_at + self._awake()),
                database_at=self._database_now(connection),
                wall_boot_at=wall_boot_at,
            )
        )
        self._set(boot_at)
        return jump if abs(jump) >= JUMP_SECONDS else None

    def _corrected(
        self, connection: Connection, row: Row[Any], now: float, wall_boot_at: float
    ) -> float:
        """Return the machine's part of scheduling time: not behind what was noted by any machine.

        Its own note is ahead where a virtual machine was put back to an earlier state. Else it is
        brought nearer to the wall clock.
        """
        boot_at = float(row.boot_at)
        ahead = max(self._latest_of_others(connection, 0.0, SYNC_SECONDS), row.seen_at) - now
        if ahead > JUMP_SECONDS:
            return float(boot_at + ahead)
        most = SLEW * min(max(0.0, now - row.seen_at), 6 * SYNC_SECONDS)
        return boot_at + float(max(-most, min(most, wall_boot_at - boot_at)))

    def _anchor(self) -> None:
        """Begin scheduling time of a new boot: not behind what the ledger has seen.

        Time in which nothing was noted counts as long as the database's clock says, up to a day:
        a clock that is a year ahead cannot be told from a year without power, and then nothing may
        be deleted or given up for it. A ledger without any note begins at the wall clock.
        """
        with self._database.write() as connection:
            self._insert(connection)

    def _insert(self, connection: Connection) -> None:
        latest = self._latest_of_others(connection, _UNNOTED_SECONDS, LONGEST_OFF_SECONDS)
        wall, awake = self._wall(), self._awake()
        scheduled = wall if latest < 0 else latest
        if self._adopt_at is not None:  # this process knows better than a copy of the ledger
            scheduled = max(scheduled, self._scheduled())
        connection.execute(
            insert(CLOCKS).values(
                boot=self._boot,
                boot_at=scheduled - awake,
                seen_at=scheduled,
                database_at=self._database_now(connection),
                wall_boot_at=wall - awake,
            )
        )
        connection.execute(delete(CLOCKS).where(CLOCKS.c.seen_at < scheduled - _KEPT_SECONDS))

    def _latest_of_others(self, connection: Connection, least: float, most: float) -> float:
        """Estimate the scheduling time of other boots; less than 0 if there are none.

        Args:
            connection: The transaction.
            least: What counts at least of the time since a note whose boot ended, or whose
                database's clock was set back: a process may have gone on for a while after it.
            most: What counts at most.
        """
        now = self._database_now(connection)
        rows = connection.execute(select(CLOCKS).where(CLOCKS.c.boot != self._boot)).all()
        return max(
            (float(row.seen_at) + self._passed(now - row.database_at, least, most) for row in rows),
            default=-1.0,
        )

    def _passed(self, seconds: float, least: float, most: float) -> float:
        """Return how much of the time between two readings of the database's clock counts."""
        has_ended = self._database.is_sqlite  # whose other boots are earlier ones
        return min(max(seconds, least if has_ended or seconds < 0 else 0.0), most)

    def _database_now(self, connection: Connection) -> float:
        """Read the database's clock: of SQLite this machine's, of PostgreSQL its server's."""
        if self._database.is_sqlite:
            return self._wall()
        epoch = func.extract("epoch", func.clock_timestamp())
        return float(connection.execute(select(epoch)).scalar_one())

    def _scheduled(self) -> float:
        at = self._awake() + (self._boot_at or 0.0)
        return max(self._floor, at)

    def _set(self, boot_at: float) -> None:
        awake = self._awake()
        if self._adopt_at is not None and boot_at < self._boot_at:
            self._floor = max(awake + self._boot_at, self._floor)
        self._boot_at, self._adopt_at = boot_at, awake + _ADOPT_SECONDS


def same(clock: Callable[[], float]) -> Clock:
    """Return a clock whose wall and scheduling time are both those of `clock`."""

    def read() -> Moment:
        at = clock()
        return Moment(at, at)

    return read


def _row(connection: Connection, boot: str, *, for_update: bool = False) -> Row[Any] | None:
    query = select(CLOCKS).where(CLOCKS.c.boot == boot)
    return connection.execute(query.with_for_update() if for_update else query).one_or_none()


def _boot() -> str:
    """Name this boot, and the namespace in which CLOCK_BOOTTIME counts (time_namespaces(7))."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        namespace = str(Path("/proc/self/ns/time").readlink())
    except OSError:  # a kernel without them
        return boot
    return f"{boot} {namespace.removeprefix('time:').strip('[]')}"
