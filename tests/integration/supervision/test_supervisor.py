"""The supervisor with shell scripts as parts: it restarts them, drains them, and leaves none."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.inference_worker import Workspace
from support.lobar_process import wait_for
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.settings import child_environment
from service.supervision.supervisor import AlreadyRunningError, lobar_command, sole_supervisor
from service.telemetry.heartbeat import holder_name

SUPERVISOR = """
import json, sys
from service.errors import ExplainedError
from service.storage.ledger import Ledger
from service.telemetry.structured_log import configure
from service.settings import LogSettings, child_environment
from service.supervision.supervisor import Part, Supervisor

parts, url, seconds = sys.argv[1:]
configure(LogSettings())
supervisor = Supervisor(
    [Part(**part) for part in json.loads(parts)],
    Ledger(url),
    environment=child_environment(),
    drain_seconds=float(seconds),
)
try:
    supervisor.run()
except ExplainedError as exc:
    print(f"lobar: {exc}", file=sys.stderr)
    sys.exit(exc.exit_status)
"""


class Supervised:
    """A supervisor in a process of its own, whose parts write to a file what they do."""

    def __init__(self, folder: Path, ledger_url: str, parts: dict[str, str], drain: float) -> None:
        self._notes, self._log = folder / "notes", folder / "log"
        self._notes.touch()
        listed = [
            {
                "role": role,
                "command": ["sh", "-c", script.replace("NOTES", str(self._notes))],
                "is_needed_by_others": role == "redis",
            }
            for role, script in parts.items()
        ]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, json.dumps(listed), ledger_url, str(drain)],
                stderr=log,
            )

    def notes(self) -> list[str]:
        return self._notes.read_text().splitlines()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [line for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def messages(self) -> list[str]:
        return [line for line in self._log.read_text().splitlines() if line.startswith("lobar: ")]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


Supervise = Callable[..., Supervised]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Workspace]:
    house = Workspace(tmp_path)
    yield house
    house.ledger.close()


@pytest.fixture
def supervise(house: Workspace, tmp_path: Path) -> Iterator[Supervise]:
    started: list[Supervised] = []

    def start(drain_seconds: float = 30, **parts: str) -> Supervised:
        url = house.settings.ledger_url
        started.append(Supervised(tmp_path, url, parts, drain_seconds))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def has_exited(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def leased_by(house: Workspace, holder: str) -> str:
    job_id = house.receive(make_cr(rows=8, columns=8))
    (job,) = house.ledger.jobs.lease(holder, 1, lease_seconds=60, maximum_attempts=3)
    assert job.id == job_id
    return job_id


def test_a_part_that_dies_is_restarted_and_its_leased_job_is_due_at_once(
    supervise: Supervise, house: Workspace
) -> None:
    here = supervise(infer="echo $$ >> NOTES; exec sleep 1000", web="exec sleep 1000")
    (pid,) = wait_for(here.notes)
    other_holder = holder_name("infer", int(pid) * 10)
    mine = leased_by(house, holder_name("infer", int(pid)))
    other = leased_by(house, other_holder)
    os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: len(here.notes()) == 2)
    wait_for(lambda: house.job(mine).holder is None)
    assert house.job(mine).state is JobState.RECEIVED
    assert house.job(mine).attempt == 1, "the attempt stays counted"
    assert house.job(other).holder == other_holder
    assert [event["role"] for event in here.events("part_died")] == ["infer"]
    assert here.stop() == 0


def test_a_part_that_exits_at_once_is_restarted_at_growing_pauses_and_affects_no_other(
    supervise: Supervise,
) -> None:
    here = supervise(infer="exit 1", web="echo web >> NOTES; exec sleep 1000")
    wait_for(lambda: len(here.events("part_died")) == 3)
    pauses = [event["seconds"] for event in here.events("part_died")]
    assert pauses[0] == 0
    assert 0 < pauses[1] < pauses[2]
    assert here.notes() == ["web"]
    assert here.stop() == 0


def test_a_part_that_cannot_work_as_configured_drains_and_ends_the_others(
    supervise: Supervise,
) -> None:
    here = supervise(
        web="trap 'echo web drained >> NOTES; exit 0' TERM; echo up >> NOTES;"
        " while :; do sleep 0.05; done",
        listener="while ! grep -q up NOTES; do sleep 0.05; done; exit 78",
    )
    assert here.process.wait(60) == 78
    assert here.notes() == ["up", "web drained"]
    assert here.messages() == ["lobar: listener cannot work as configured: see above"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_on_sigterm_and_sigint_parts_finish_and_what_they_need_stops_last(
    supervise: Supervise, number: signal.Signals
) -> None:
    tidy = "trap 'sleep 0.3; echo {0} done >> NOTES; exit 0' TERM; echo {0} >> NOTES;"
    forever = " while :; do sleep 0.05; done"
    here = supervise(
        redis=tidy.format("redis") + forever,
        infer=tidy.format("infer") + forever,
        web=tidy.format("web") + forever,
    )
    wait_for(lambda: len(here.notes()) == 3)
    here.process.send_signal(number)
    assert here.process.wait(60) == 0
    assert set(here.notes()[3:5]) == {"infer done", "web done"}
    assert here.notes()[5] == "redis done"
    assert here.events("part_killed") == []


def test_a_part_that_does_not_stop_is_killed_after_drain_seconds(supervise: Supervise) -> None:
    here = supervise(0.5, infer="trap '' TERM; echo $$ >> NOTES; while :; do sleep 0.05; done")
    (pid,) = wait_for(here.notes)
    assert here.stop() == 0
    assert has_exited(int(pid))
    assert len(here.events("part_killed")) == 1


def test_no_part_outlives_a_supervisor_that_is_killed(supervise: Supervise) -> None:
    here = supervise(infer="echo $$ >> NOTES; exec sleep 1000")
    (pid,) = wait_for(here.notes)
    here.process.kill()
    wait_for(lambda: has_exited(int(pid)), seconds=30)


def test_a_state_directory_has_one_service_at_a_time(tmp_path: Path) -> None:
    with sole_supervisor(tmp_path / "state"):
        with pytest.raises(AlreadyRunningError), sole_supervisor(tmp_path / "state"):
            pytest.fail("two processes hold the lock")
        second = subprocess.run(
            lobar_command("up"),
            env=child_environment(
                LOBAR_CONFIG="", LOBAR_STATE_DIR=str(tmp_path / "state"), LOBAR_WEB__PORT="1"
            ),
            cwd=tmp_path,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert second.returncode == 75
    assert second.stderr.splitlines() == [
        f"lobar: Another `lobar up` runs with the state directory {tmp_path}/state."
    ]
    with sole_supervisor(tmp_path / "state"):
        pass
