"""Scheduling time, on clocks that the test sets: wall, time since boot, and real time beside them.

The ledger is a SQLite file with the one table that the clock needs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from service.storage.ledger.clock import (
    LONGEST_OFF_SECONDS,
    SLEW,
    SYNC_SECONDS,
    MachineClocks,
    SchedulingClock,
)
from service.storage.ledger.database import Database, LedgerError
from service.storage.ledger.tables import CLOCKS

HOUR: Final = 3_600.0
DAY: Final = 86_400.0
YEAR: Final = 365 * DAY
LAG: Final = 2.5  # of one process behind another that has changed its pace
NOTED_LATE: Final = 2 * SYNC_SECONDS  # by how much scheduling time may skip when a machine boots


class Machine:
    """A machine whose clocks the test sets, and the processes on it that read the ledger's."""

    def __init__(self, database: Database, wall: float = 1.8e9) -> None:
        self.database = database
        self.real = 0.0  # seconds that passed
        self.wall = wall
        self.booted_at = 0.0
        self.boots = 0
        self.jumps: list[float] = []
        self.boot(off_seconds=0)

    def boot(self, *, off_seconds: float) -> None:
        """Switch the machine off for so long, and on: CLOCK_BOOTTIME begins at 0."""
        self.pass_seconds(off_seconds)
        self.booted_at = self.real
        self.boots += 1
        self.processes = [self.process(), self.process()]

    def process(self) -> SchedulingClock:
        """Begin a process."""
        clocks = MachineClocks(
            wall=lambda: self.wall,
            awake=lambda: self.real - self.booted_at,
            boot=f"boot {self.boots}",
        )
        clock = SchedulingClock(self.database, clocks)
        clock.start()
        return clock

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass, which the wall clock shows."""
        self.real += seconds
        self.wall += seconds

    def beat(self) -> None:
        """Let each process do what it does with a heartbeat."""
        for process in self.processes:
            with self.database.write() as connection:
                jump = process.sync(connection)
            if jump is not None:
                self.jumps.append(jump)

    def run(self, seconds: float) -> None:
        """Let time pass with a heartbeat every few seconds at its end."""
        self.beat()
        self.pass_seconds(seconds)
        self.beat()
        self.beat()

    def read(self) -> list[float]:
        """Read scheduling time in each process."""
        return [process().scheduled for process in self.processes]


@contextmanager
def ledger() -> Iterator[Database]:
    """A database with the table of clocks alone."""
    with TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/ledger.sqlite3")
        event.listen(database.engine, "connect", _without_fsync)
        CLOCKS.create(database.engine)
        yield database
        database.close()


def _without_fsync(connection: Any, _record: object) -> None:  # noqa: ANN401 -- of a driver
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with ledger() as database:
        yield Machine(database)


STEPS = st.one_of(
    st.tuples(st.just("run"), st.floats(0, 40 * DAY)),
    st.tuples(st.just("set"), st.floats(-2 * YEAR, 2 * YEAR)),
    st.tuples(st.just("process"), st.just(0.0)),
    st.tuples(st.just("boot"), st.floats(0, YEAR)),
)


@settings(max_examples=60, deadline=None)
@example([("set", -YEAR), ("boot", 5.0), ("run", DAY), ("set", 2 * YEAR), ("boot", 5.0)])
@example([("boot", 0.0), ("boot", 0.0), ("set", YEAR), ("run", 3.0), ("boot", 0.0)])
@given(st.lists(STEPS, max_size=8))
def test_whatever_is_set_and_booted_scheduling_time_follows_the_time_that_passes(
    steps: list[tuple[str, float]],
) -> None:
    with ledger() as database:
        machine = Machine(database)
        for what, seconds in steps:
            before, real, known = machine.read(), machine.real, len(machine.processes)
            if what == "run":
                machine.run(seconds)
            elif what == "set":
                machine.wall += seconds
                machine.beat()
            elif what == "process":
                machine.processes.append(machine.process())
            else:
                machine.boot(off_seconds=seconds)
            passed, after = machine.real - real, machine.read()
            if what == "boot":
                assert -LAG <= min(after) - max(before) <= LONGEST_OFF_SECONDS + NOTED_LATE
            else:
                for one, same in zip(before, after[:known], strict=True):
                    assert same >= one
                    assert abs(same - one - passed) <= SLEW * passed + LAG
            assert max(after) - min(after) <= LAG


@pytest.mark.parametrize("step", [-40 * DAY, -HOUR, HOUR, DAY, YEAR])
def test_a_step_is_seen_once_and_changes_nothing(machine: Machine, step: float) -> None:
    machine.run(60)
    (before, _) = machine.read()
    machine.wall += step
    for _ in range(3):
        machine.run(2)
    assert machine.jumps == [pytest.approx(step, abs=0.01)]
    assert machine.read() == [pytest.approx(before + 6, abs=1)] * 2


def test_a_step_of_a_second_is_no_jump(machine: Machine) -> None:
    machine.wall += 1
    machine.run(60)
    assert machine.jumps == []


def test_a_step_while_no_process_ran_is_seen_by_the_first(machine: Machine) -> None:
    machine.run(60)
    machine.pass_seconds(DAY)
    machine.wall -= 2 * DAY
    machine.run(2)
    assert machine.jumps == [pytest.approx(-2 * DAY, abs=0.01)]


def test_a_process_that_begins_after_a_step_agrees_with_the_others(machine: Machine) -> None:
    machine.run(60)
    machine.wall += 30 * DAY
    assert machine.process()().scheduled == pytest.approx(machine.read()[0], abs=0.01)


def test_without_the_service_the_time_that_passes_counts_in_full(machine: Machine) -> None:
    """Nothing was noted for ten days, but the machine ran: CLOCK_BOOTTIME is evidence."""
    machine.run(60)
    (before, _) = machine.read()
    machine.pass_seconds(10 * DAY)
    assert machine.process()().scheduled == pytest.approx(before + 10 * DAY, abs=0.01)


@pytest.mark.parametrize(
    ("wall_step", "counts"),
    [(0, HOUR), (-YEAR, NOTED_LATE), (-56 * YEAR, NOTED_LATE), (YEAR, DAY), (2 * HOUR, 3 * HOUR)],
)
def test_a_machine_that_was_off_counts_what_its_clock_says_up_to_a_day(
    machine: Machine, wall_step: float, counts: float
) -> None:
    """A battery that is empty, a clock that is a year ahead: neither gives anything up."""
    machine.run(60)
    (before, _) = machine.read()
    machine.wall += wall_step
    machine.boot(off_seconds=HOUR)
    assert machine.read()[0] - before == pytest.approx(counts, abs=SYNC_SECONDS)


def test_it_approaches_the_wall_clock_by_a_hundredth_and_stays_there(machine: Machine) -> None:
    machine.run(60)
    machine.wall -= 30
    behind = []
    for _ in range(6):
        for _ in range(20):
            machine.run(60)
        moment = machine.processes[0]()
        behind.append(moment.scheduled - moment.wall)
    assert behind == [pytest.approx(max(0, 30 - 12 * n), abs=1.5) for n in range(1, 7)]


def test_a_process_without_heartbeats_follows(machine: Machine) -> None:
    alone = machine.process()
    machine.wall -= 10 * DAY
    for _ in range(100):
        machine.run(60)
        alone()
    assert alone().scheduled == pytest.approx(machine.read()[0], abs=1.3)


def test_no_reading_is_behind_an_earlier_one_while_it_is_slowed(machine: Machine) -> None:
    machine.wall -= DAY
    read = [machine.read()[0]]
    for _ in range(50):
        machine.pass_seconds(0.01)
        machine.run(11)
        machine.pass_seconds(0.01)
        read.append(machine.read()[0])
    assert read == sorted(read)


def test_a_ledger_that_was_put_back_from_a_copy_gets_the_boot_again(machine: Machine) -> None:
    machine.run(60)
    (before, _) = machine.read()
    with machine.database.write() as connection:
        connection.execute(CLOCKS.delete())
        values = {"boot_at": 0.0, "seen_at": before - 9 * DAY, "database_at": machine.wall}
        connection.execute(CLOCKS.insert().values(boot="old", wall_boot_at=0.0, **values))
    machine.run(60)
    assert machine.read() == [pytest.approx(before + 60, abs=2)] * 2
    assert machine.process()().scheduled == pytest.approx(before + 60, abs=2)


def test_a_virtual_machine_that_was_put_back_is_not_behind_what_was_noted(
    machine: Machine,
) -> None:
    machine.run(DAY)
    (before, _) = machine.read()
    machine.booted_at += HOUR
    machine.run(1)
    machine.run(1)
    assert machine.read() == [pytest.approx(before, abs=15)] * 2


def test_two_clocks_of_one_machine_that_differ_do_not_drive_each_other_on() -> None:
    """Containers may have time namespaces of their own: two boots of one SQLite file at once."""
    with ledger() as database:
        one, two = Machine(database), Machine(database)
        two.boots = 100
        two.boot(off_seconds=0)
        begun = max(*one.read(), *two.read())
        for _ in range(60):
            for machine in (one, two):
                machine.run(11)
        for scheduled in (*one.read(), *two.read()):
            assert scheduled - begun == pytest.approx(660, abs=40)


def test_a_ledger_that_does_not_answer_is_said(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/there-are-no-tables.sqlite3")
    clock = SchedulingClock(database, MachineClocks.of_this_machine())
    with pytest.raises(LedgerError):
        clock()
    database.close()
