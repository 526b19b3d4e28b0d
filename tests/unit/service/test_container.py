"""`service.container`: process 1 of a container, with commands that report as parts do."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from service.container import START_SECONDS, Container, check

REPORTS: Final = """
import os, socket, sys, time
address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for message in sys.argv[1:]:
    sender.sendto(message.replace(",", "\\n").encode(), address)
time.sleep(60)
"""


class Started:
    """`python -m service.container run` as a process, with a state file of its own."""

    def __init__(self, folder: Path) -> None:
        self.state_file = folder / "state"
        self._processes: list[subprocess.Popen[str]] = []

    def run(self, *command: str, **seconds: float) -> subprocess.Popen[str]:
        """Start a command in it."""
        script = (
            "import sys; from pathlib import Path; from service.container import Container;"
            f"sys.exit(Container(sys.argv[1:], state_file=Path({str(self.state_file)!r}),"
            f"**{seconds}).run())"
        )
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *command],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return self._processes[-1]

    def reporting(self, *messages: str, **seconds: float) -> subprocess.Popen[str]:
        """Start a command that sends these messages and then does nothing."""
        return self.run(sys.executable, "-c", REPORTS, *messages, **seconds)

    def wait_for(self, line: str) -> None:
        """Wait until the check says this."""
        until = time.monotonic() + 30
        while (said := check(self.state_file)[1]) != line:
            assert time.monotonic() < until, said
            time.sleep(0.05)

    def close(self) -> None:
        """End what still runs."""
        for each in self._processes:
            with suppress(ProcessLookupError):  # of the group, so that no command holds the pipes
                os.killpg(each.pid, signal.SIGKILL)
            each.communicate()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    started.close()


@pytest.mark.parametrize(
    ("command", "status"),
    [("exit 0", 0), ("exit 78", 78), ("kill -SEGV $$", 128 + signal.SIGSEGV)],
)
def test_it_exits_as_its_command_does(container: Started, command: str, status: int) -> None:
    assert container.run("bash", "-c", command).wait(30) == status


def test_a_command_that_is_not_there_is_said_in_one_line(container: Started) -> None:
    process = container.run("/nowhere/lobar")
    assert process.communicate(timeout=30)[1] == "/nowhere/lobar: No such file or directory\n"
    assert process.returncode == 127


def test_signals_reach_the_command_and_it_may_take_its_time(container: Started) -> None:
    command = "trap 'sleep 1; echo drained; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    process = container.run("bash", "-c", command, start_seconds=30, silent_seconds=0.1)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.communicate(timeout=30)[0] == "drained\n"
    assert process.returncode == 0


def test_a_signal_that_comes_before_the_command_reaches_it(container: Started) -> None:
    command = "trap 'echo drained; exit 0' TERM; kill -TERM $PPID; while :; do sleep 0.1; done"
    for _ in range(5):
        process = container.run("bash", "-c", command)
        assert process.communicate(timeout=30)[0] == "drained\n"
        assert process.returncode == 0


def test_a_part_that_reports_progress_is_ready_as_soon_as_it_says_so(container: Started) -> None:
    container.reporting("WATCHDOG=1")
    container.wait_for("not ready: starting")
    assert check(container.state_file)[0] == 1


def test_a_ready_part_passes_the_check_until_it_is_silent(container: Started) -> None:
    container.reporting("READY=1,WATCHDOG=1")
    container.wait_for("ready")
    status, line = check(container.state_file, silent_seconds=-1)
    assert status == 1
    assert line.startswith("not ready: silent for")


def test_a_report_of_another_process_does_not_count(container: Started) -> None:
    once = REPORTS.replace("time.sleep(60)", "")
    by_a_child = f"{sys.executable} -c '{once}' READY=1,WATCHDOG=1; exec sleep 60"
    process = container.run("bash", "-c", by_a_child, start_seconds=3)
    assert "no progress, ended" in process.communicate(timeout=60)[1]


def test_without_a_place_for_its_state_the_command_goes_on(tmp_path: Path) -> None:
    nowhere = Started(tmp_path / "missing")
    try:
        process = nowhere.reporting("READY=1,WATCHDOG=1", silent_seconds=2)
        assert "no progress, ended" in process.communicate(timeout=60)[1], "as it reports once"
        assert process.returncode == os.EX_TEMPFAIL
    finally:
        nowhere.close()


def test_what_has_not_reported_is_not_ready(tmp_path: Path) -> None:
    assert check(tmp_path / "none") == (1, "not ready: it has not reported yet")
    (tmp_path / "odd").write_text("ready soon")
    assert check(tmp_path / "odd")[0] == 1


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param(["READY=1,WATCHDOG=1", "WATCHDOG=trigger,X_STUCK_SECONDS=130"], id="stuck"),
        pytest.param(["READY=1,WATCHDOG=1"], id="silent"),
        pytest.param([], id="never reported"),
    ],
)
def test_what_makes_no_progress_is_ended_to_be_started_again(
    container: Started, messages: list[str]
) -> None:
    process = container.reporting(*messages, start_seconds=3, silent_seconds=1)
    assert "no progress, ended" in process.communicate(timeout=60)[1]
    assert process.returncode == os.EX_TEMPFAIL
    assert not container.state_file.exists()


@pytest.mark.parametrize(
    ("command", "is_limited"), [("up", True), ("worker", True), ("status", False), ("demo", False)]
)
def test_a_command_that_never_reports_may_take_as_long_as_it_needs(
    tmp_path: Path, command: str, *, is_limited: bool
) -> None:
    command_line = ["lobar", command, "ID"]
    container = Container(command_line, state_file=tmp_path / "state")
    assert container.silence_limit == (START_SECONDS if is_limited else math.inf)


def test_what_ignores_the_request_to_end_is_killed(container: Started) -> None:
    command = "trap '' TERM; while :; do sleep 0.1; done"
    process = container.run("bash", "-c", command, start_seconds=0.5)
    assert process.wait(60) == os.EX_TEMPFAIL


def test_a_pause_of_the_whole_container_is_not_silence(tmp_path: Path) -> None:
    """An engine may stop all its processes for an hour; the clock is a parameter."""
    hours = iter(range(0, 3600 * 1000, 3600))
    paused = Container(
        ["bash", "-c", "sleep 1; exit 5"],
        start_seconds=60,
        state_file=tmp_path / "state",
        clock=lambda: float(next(hours)),
    )
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
    try:
        assert paused.run() == 5
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_processes_that_others_left_behind_are_collected(tmp_path: Path) -> None:
    """In a namespace of its own it is process 1, to which the kernel gives orphans."""
    left = (
        "(sleep 0.2 & ) ; sleep 1.5; ls -d /proc/[0-9]* | wc -l; grep -l '^State:.Z' /proc/*/status"
    )
    done = subprocess.run(
        [
            *("unshare", "--pid", "--mount", "--mount-proc", "--fork", sys.executable, "-P", "-m"),
            *("service.container", "run", "bash", "-c", left),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("no right to make a namespace of processes here")
    assert "status" not in done.stdout, done.stdout
    assert done.stdout.strip().isdigit()


def test_it_imports_nothing_but_the_standard_library(tmp_path: Path) -> None:
    script = (
        "import sys; import service.container;"
        "print(*sorted(n for n in {m.partition('.')[0] for m in sys.modules}"
        " if n not in sys.stdlib_module_names and not n.startswith('_')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert "structlog" not in done.stdout
    assert "pydantic" not in done.stdout
    assert "service" in done.stdout.split()
