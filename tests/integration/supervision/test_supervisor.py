"""The supervisor with shell scripts as parts: it restarts them, drains them, and leaves none."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.inference_worker import Workspace
from support.lobar_process import wait_for
from support.system.ports import LOOPBACK, accepts_connections, free_port
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.errors import EX_TEMPFAIL
from service.settings import child_environment
from service.supervision.supervisor import AlreadyRunningError, lobar_command, sole_supervisor
from service.telemetry.heartbeat import holder_name

WORKING = """
import signal, sys, time
import structlog
from service.settings import LogSettings
from service.telemetry.structured_log import configure
from service.telemetry.progress import Progress
from service.telemetry.watchdog import Watchdog

step, steps, ignored = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "ignore"
if ignored:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
configure(LogSettings())
progress = Progress()
Watchdog("infer", lambda: True, progress).start()
time.sleep(0.5)
structlog.get_logger().info("part_reports")
with progress.working("infer", 2.0):
    for _ in range(steps):
        time.sleep(step)
        progress.touch("infer")
time.sleep(1000)
"""
"""A part whose work is so many steps of so many seconds, each of which may take two."""

SUPERVISOR = """
import json, sys
from service.errors import ExplainedError
from service.storage.ledger import Ledger
from service.telemetry.structured_log import configure
from service.settings import LogSettings, child_environment
from service.supervision.supervisor import Part, Supervisor

parts, url, drain_seconds, start_seconds, stuck_seconds = sys.argv[1:]
configure(LogSettings())
supervisor = Supervisor(
    [Part(**part) for part in json.loads(parts)],
    Ledger(url),
    environment=child_environment(),
    drain_seconds=float(drain_seconds),
    start_seconds=float(start_seconds),
    stuck_seconds=float(stuck_seconds),
    grace_seconds=1,
)
try:
    supervisor.run()
except ExplainedError as exc:
    print(f"lobar: {exc}", file=sys.stderr)
    sys.exit(exc.exit_status)
"""


class Supervised:
    """A supervisor in a process of its own, whose parts write to a file what they do."""

    def __init__(
        self, folder: Path, ledger_url: str, parts: dict[str, str], seconds: tuple[float, ...]
    ) -> None:
        self._notes, self._log = folder / "notes", folder / "log"
        self._notes.touch()
        listed = [
            {
                "role": role,
                "command": ["sh", "-c", script.replace("NOTES", str(self._notes))],
                "is_needed_by_others": role == "redis",
                "waits_at_first": role == "second",
            }
            for role, script in parts.items()
        ]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-c", SUPERVISOR, json.dumps(listed), ledger_url),
                    *map(str, seconds),
                ],
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

    def start(
        drain_seconds: float = 30,
        start_seconds: float = 600,
        stuck_seconds: float = 120,
        **parts: str,
    ) -> Supervised:
        url = house.settings.ledger_url
        seconds = (drain_seconds, start_seconds, stuck_seconds)
        started.append(Supervised(tmp_path, url, parts, seconds))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


def bound_to(port: int) -> socket.socket | None:
    """Listen on a port as another program would; None while it is taken."""
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError:
        return None


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


def working(step: float, steps: int, *, ignores_sigterm: bool = False) -> str:
    """Return the script of a part that notes its process number, then works."""
    ignored = "ignore" if ignores_sigterm else "heed"
    return f"echo $$ >> NOTES; exec {sys.executable} -c '{WORKING}' {step} {steps} {ignored}"


def test_a_part_that_hangs_is_replaced_and_no_other_is(supervise: Supervise) -> None:
    here = supervise(infer=working(1000, 1), web=working(1.0, 1000))
    wait_for(lambda: len(here.notes()) >= 2)
    wait_for(lambda: here.events("part_stuck"), seconds=30)
    (stuck, *_) = here.events("part_stuck")
    assert (stuck["role"], 2 <= stuck["seconds"] <= 6) == ("infer", True)
    wait_for(lambda: len(here.notes()) >= 3)
    assert str(stuck["pid"]) in here.notes()
    assert has_exited(stuck["pid"])
    assert {event["role"] for event in here.events("part_died")} == {"infer"}
    assert here.events("work_stuck")[0]["queue"] == "infer"
    assert here.stop() == 0


def test_a_part_that_hangs_and_ignores_sigterm_is_killed_and_its_lease_released(
    supervise: Supervise, house: Workspace
) -> None:
    here = supervise(infer=working(1000, 1, ignores_sigterm=True))
    pid = wait_for(here.notes)[0]
    mine = leased_by(house, holder_name("infer", int(pid)))
    wait_for(lambda: house.job(mine).holder is None, seconds=30)
    assert has_exited(int(pid))
    assert here.events("part_died")[0]["returncode"] == -signal.SIGKILL


def test_a_part_that_is_stopped_is_replaced(supervise: Supervise) -> None:
    here = supervise(stuck_seconds=3, infer=working(0.2, 1000))
    (pid,) = wait_for(here.notes)
    wait_for(lambda: here.events("part_reports"))
    os.kill(int(pid), signal.SIGSTOP)
    wait_for(lambda: len(here.notes()) == 2, seconds=30)
    assert has_exited(int(pid))
    assert [event["role"] for event in here.events("part_stuck")] == ["infer"]
    assert here.stop() == 0


def test_a_part_that_never_reports_is_replaced_after_start_seconds(supervise: Supervise) -> None:
    here = supervise(start_seconds=0.5, infer="echo $$ >> NOTES; exec sleep 1000")
    wait_for(lambda: len(here.notes()) >= 2)
    assert here.events("part_stuck")[0]["role"] == "infer"
    assert here.stop() == 0


def test_a_part_that_may_wait_starts_once_the_others_work_and_again_at_once(
    supervise: Supervise,
) -> None:
    second = "echo second $$ >> NOTES; exec sleep 1000"
    here = supervise(second=second, infer="sleep 2; " + working(0.2, 1000))
    wait_for(lambda: len(here.notes()) == 2)
    (pid,) = (each.removeprefix("second ") for each in here.notes()[1:])
    assert here.notes() == [here.notes()[0], f"second {pid}"], "after what the other writes"
    os.kill(int(pid), signal.SIGKILL)
    wait_for(lambda: len(here.notes()) == 3)
    assert here.stop() == 0


def test_a_part_does_not_wait_for_longer_than_a_start_may_take(supervise: Supervise) -> None:
    here = supervise(start_seconds=1, second="echo second >> NOTES; exec sleep 9", infer="exit 1")
    wait_for(lambda: "second" in here.notes())
    assert here.events("part_died")[0]["role"] == "infer"
    assert here.stop() == 0


def test_a_part_that_is_slow_or_idle_is_left_alone(supervise: Supervise) -> None:
    here = supervise(stuck_seconds=3, infer=working(1.0, 1000), web=working(0.0, 0))
    wait_for(lambda: len(here.notes()) == 2)
    time.sleep(5)
    assert here.events("part_stuck") == []
    assert here.stop() == 0


def test_a_supervisor_that_was_frozen_ends_no_part(supervise: Supervise) -> None:
    here = supervise(stuck_seconds=5.5, infer=working(0.2, 1000))
    wait_for(lambda: here.events("part_reports"))
    here.process.send_signal(signal.SIGSTOP)
    time.sleep(6.5)
    here.process.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert here.events("part_stuck") == []
    assert here.stop() == 0


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


def test_a_port_taken_while_the_listener_restarts_ends_nothing_and_is_used_once_free(
    supervise: Supervise, house: Workspace
) -> None:
    port = free_port()
    settings = {
        "LOBAR_STATE_DIR": house.settings.state_dir,
        "LOBAR_DICOM__PORT": port,
        "LOBAR_REDIS__URL": f"redis://{LOOPBACK}:{free_port()}",
    }
    variables = " ".join(f"{name}={value}" for name, value in settings.items())
    command = shlex.join(lobar_command("listener"))
    here = supervise(listener=f"echo $$ >> NOTES; {variables} exec {command}")
    wait_for(lambda: accepts_connections(port))
    os.kill(int(here.notes()[0]), signal.SIGKILL)
    with wait_for(lambda: bound_to(port)):
        wait_for(lambda: len(here.events("part_died")) >= 2)
        assert here.process.poll() is None
    assert [event["returncode"] for event in here.events("part_died")][:2] == [-9, EX_TEMPFAIL]
    assert f"dicom.port {port}: Address already in use." in here.messages()[0]
    wait_for(lambda: accepts_connections(port))
    assert here.stop() == 0


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
