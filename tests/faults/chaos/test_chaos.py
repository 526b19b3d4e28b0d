"""A short chaos run on each database: nothing acknowledged is lost, nothing is reported twice.

The long form is `make chaos`. A run is a process of its own, so that its file systems are mounted
where nobody else sees them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from faults.chaos.schedule import Kind
from support.system.programs import need_program

pytestmark = [pytest.mark.slow, pytest.mark.orthanc, pytest.mark.dcmtk]

TESTS: Final = Path(__file__).resolve().parents[2]
SEED: Final = 14
IN_SHORT_RUNS: Final = tuple(
    kind for kind in Kind if kind is not Kind.CLOCK_STEP
)  # `make chaos` has it too


def chaos(folder: Path, database: str, seconds: int, instances: int) -> dict[str, Any]:
    """Run `make chaos`, and return its result."""
    for program in ("Orthanc", "storescu"):
        need_program(program)
    output = folder / "result.json"
    command = [sys.executable, "-m", "faults.chaos", "--seed", str(SEED), "--database", database]
    command += ["--seconds", str(seconds), "--instances", str(instances)]
    command += ["--kinds", ",".join(IN_SHORT_RUNS), "--output", str(output)]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},  # noqa: TID251 -- the tests' own
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(output.read_text())
    return result


def require_good(result: dict[str, Any], instances: int) -> None:
    """Require that everything was sent and reported, through at least one fault of most kinds."""
    assert (result["lost"], result["doubled"], result["balance"], result["in_flight"]) == (0,) * 4
    assert result["wrong"] == []
    assert result["instances_sent"] > 0.9 * instances, "those who give up may send nothing"
    assert result["versions_acknowledged"] > 0.9 * instances
    for reports in result["reports"].values():
        assert reports > 0.85 * instances, "most outcomes are reports, not refusals"
    assert len(result["faults"]) > 8, result["faults_left_out"]


def test_nothing_is_lost_or_doubled_while_everything_fails_in_turn(tmp_path: Path) -> None:
    require_good(chaos(tmp_path, "sqlite", seconds=25, instances=200), 200)


@pytest.mark.postgresql
def test_nothing_is_lost_or_doubled_on_postgresql(tmp_path: Path) -> None:
    need_program("initdb")
    require_good(chaos(tmp_path, "postgresql", seconds=15, instances=100), 100)
