"""A short chaos run on each database: nothing acknowledged is lost, nothing is reported twice.

The long form is `make chaos`. A run is a process of its own, so that its file systems are mounted
where nobody else sees them.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from faults.chaos.keeper import SLEEP_OTHERWISE, SteppedClock, find_libfaketime
from faults.chaos.schedule import DAY, HOUR, Kind, Layout
from faults.chaos.strikes import disks, may_mount
from support.system.programs import missing, need_program

pytestmark = [pytest.mark.slow, pytest.mark.orthanc, pytest.mark.dcmtk, pytest.mark.timeout(600)]

TESTS: Final = Path(__file__).resolve().parents[2]
SEED_APART: Final = 14  # spool, outbox and ledger have file systems of their own
SEED_SAME: Final = 15  # they share one
IN_SHORT_RUNS: Final = tuple(
    kind for kind in Kind if kind is not Kind.CLOCK_STEP
)  # `make chaos` has it too
ON_POSTGRESQL: Final = (
    *(Kind.KILL_POSTGRESQL, Kind.RESTART_POSTGRESQL, Kind.KILL_LISTENER, Kind.KILL_DELIVER),
    *(Kind.FLUSH_REDIS, Kind.PACS_FULL, Kind.PACS_ABORTS, Kind.OUTBOX_FULL),
)


def test_a_disk_that_is_full_takes_no_byte_until_it_has_room_again(tmp_path: Path) -> None:
    if not may_mount(tmp_path):
        missing("this machine does not let this account mount a small disk")
    with disks(tmp_path / "state", Layout.APART, 1 << 20) as made:
        for disk in made.values():
            kept = disk.folder / "kept"
            kept.write_bytes(bytes(9000))
            disk.fill()
            with pytest.raises(OSError, match="No space left"):
                (disk.folder / "more").write_bytes(bytes(4096))
            disk.make_room()
            (disk.folder / "more").write_bytes(bytes(4096))
            assert kept.stat().st_size == 9000
    assert not list((tmp_path / "state").glob("**/kept")), "each was a file system of its own"


def test_a_stepped_clock_moves_the_wall_clock_of_a_process_and_no_other(tmp_path: Path) -> None:
    library = find_libfaketime()
    if library is None:
        missing("no libfaketime on this machine: install the Debian package libfaketime")
    clock = SteppedClock(tmp_path, library)
    (tmp_path / "sitecustomize.py").write_text(SLEEP_OTHERWISE)
    environment = clock.settings() | {"PYTHONPATH": str(tmp_path)}
    program = "import time; a = time.monotonic(); print(time.time()); time.sleep(0.1)"
    program += "; print(time.monotonic() - a)"
    for offset in (0, DAY, -30 * DAY):
        clock.step_to(offset)
        done = subprocess.run(
            [sys.executable, "-c", program],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        wall, slept = map(float, done.stdout.split())
        assert abs(wall - time.time() - offset) < HOUR / 2
        assert 0.1 <= slept < HOUR / 2, "the clock that only grows is the machine's"


def chaos(
    folder: Path, *, seed: int, database: str, seconds: int, instances: int, kinds: Sequence[Kind]
) -> dict[str, Any]:
    """Run `make chaos`, and return its result."""
    for program in ("Orthanc", "storescu"):
        need_program(program)
    output = folder / "result.json"
    command = [sys.executable, "-m", "faults.chaos", "--seed", str(seed), "--database", database]
    command += ["--seconds", str(seconds), "--instances", str(instances)]
    command += ["--kinds", ",".join(kinds), "--output", str(output)]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},  # noqa: TID251 -- the tests' own
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(output.read_text())
    return result


def require_good(result: dict[str, Any], instances: int, kinds: int) -> None:
    """Require that everything was sent and reported, through at least one fault of most kinds."""
    assert (result["lost"], result["doubled"], result["balance"], result["in_flight"]) == (0,) * 4
    assert result["wrong"] == []
    assert result["instances_sent"] > 0.9 * instances, "those who give up may send nothing"
    assert result["versions_acknowledged"] > 0.9 * instances
    for reports in result["reports"].values():
        assert reports > 0.85 * instances, "most outcomes are reports, not refusals"
    assert len(result["faults"]) >= kinds, result["faults_left_out"]


def test_nothing_is_lost_or_doubled_while_everything_fails_in_turn(tmp_path: Path) -> None:
    result = chaos(
        tmp_path,
        seed=SEED_APART,
        database="sqlite",
        seconds=25,
        instances=150,
        kinds=IN_SHORT_RUNS,
    )
    assert result["file_systems"] == "apart"
    require_good(result, 150, kinds=10)


@pytest.mark.postgresql
def test_nothing_is_lost_or_doubled_on_postgresql(tmp_path: Path) -> None:
    need_program("initdb")
    result = chaos(
        tmp_path,
        seed=SEED_SAME,
        database="postgresql",
        seconds=8,
        instances=40,
        kinds=ON_POSTGRESQL,
    )
    assert result["file_systems"] == "same"
    require_good(result, 40, kinds=5)
