"""Process 1 of a container: it runs one command, and ends it when it makes no progress.

`python -P -m service.container run lobar worker infer` starts the command, forwards signals to it,
collects the processes that others leave behind, and exits with its status. To the command it is the
service manager (sd_notify(3)), as systemd is on a machine: engines of containers have no watchdog.
`python -P -m service.container check` exits with 0 if the command is ready and makes progress.

Standard library only, so that it needs little memory in every container.
"""

import argparse
import contextlib
import math
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Final

STATE_FILE: Final = Path("/tmp/lobar-container")  # noqa: S108 -- a container has its own /tmp
START_SECONDS: Final = 3600.0  # until the first report: before it a part may migrate the ledger
SILENT_SECONDS: Final = 60.0  # a command reports every second
_POLL_SECONDS: Final = 0.5
_LONGEST_STEP: Final = 2.0  # of the clock; a longer one was a pause of the whole container
_GRACE_SECONDS: Final = 5.0
_LONGEST_BYTES: Final = 4096
_CREDENTIALS: Final = struct.Struct("iII")  # process, user and group, by the kernel (unix(7))
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_STUCK: Final = 75  # EX_TEMPFAIL (sysexits.h): to be started again
_NOT_FOUND: Final = 127  # as a shell has it
_REPORTING: Final = frozenset({"up", "listener", "relay", "web", "worker"})  # verbs of `lobar`
_BY_SIGNAL: Final = 128


class Container:
    """One command, and what it reported last."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        start_seconds: float | None = None,
        silent_seconds: float = SILENT_SECONDS,
        state_file: Path = STATE_FILE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command)
        self._silent_seconds = silent_seconds
        self.silence_limit = start_seconds or _start_seconds(command)
        self._state_file = state_file
        self._clock = clock
        self._read_at = clock()
        self._awake = 0.0  # seconds that the container was not paused
        self._reported_at = 0.0
        self._kill_at: float | None = None
        self._is_stuck = False
        self._is_stopping = False
        self._pid: int | None = None  # of the command, once it runs
        self._early: list[int] = []  # signals that came before

    def run(self) -> int:
        """Run the command to its end, and return its exit status."""
        self._state_file.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as reports:
            reports.bind(b"")  # an abstract address that the kernel chooses (unix(7))
            reports.settimeout(_POLL_SECONDS)
            reports.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            for number in _FORWARDED:  # before the command is there, which a signal may come with
                signal.signal(number, self._forward)
            try:
                process = subprocess.Popen(self._command, env=_environment(reports))
            except OSError as exc:
                _say(f"{self._command[0]}: {exc.strerror}")
                return _NOT_FOUND
            self._pid = process.pid
            for early in self._early:
                _signal(process.pid, early)
            while (status := _reap(process.pid)) is None:
                self._receive(reports, process.pid)
                self._watch(process.pid)
        process.returncode = status  # it was collected here, with all others
        self._state_file.unlink(missing_ok=True)
        return _STUCK if self._is_stuck else status

    def _forward(self, number: int, _frame: FrameType | None) -> None:
        self._is_stopping = True  # how long that may take, the engine decides
        if self._pid is None:
            self._early.append(number)
        else:
            _signal(self._pid, number)

    def _receive(self, reports: socket.socket, pid: int) -> None:
        """Wait a moment for a report, and note what it says if it is the command's own.

        Where the network is the host's, any account could send one; the kernel says who did.
        """
        try:
            message, ancillary, _flags, _sender = reports.recvmsg(
                _LONGEST_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size)
            )
        except TimeoutError:
            return
        if pid not in {_CREDENTIALS.unpack(data)[0] for _level, _kind, data in ancillary}:
            return
        words = message.decode("utf-8", "replace").splitlines()
        if "WATCHDOG=1" in words:
            self._reported_at, self.silence_limit = self._now(), self._silent_seconds
            self._note(is_ready="READY=1" in words)
        elif "WATCHDOG=trigger" in words:
            self.silence_limit = 0.0

    def _watch(self, pid: int) -> None:
        """End a command that is stuck or silent: first with SIGTERM, then with SIGKILL."""
        now = self._now()
        if self._kill_at is not None:
            if now >= self._kill_at:
                _signal(pid, signal.SIGKILL)
        elif not self._is_stopping and now - self._reported_at > self.silence_limit:
            _say(f"{' '.join(self._command)}: no progress, ended")
            self._is_stuck, self._kill_at = True, now + _GRACE_SECONDS
            _signal(pid, signal.SIGTERM)
            _signal(pid, signal.SIGCONT)

    def _now(self) -> float:
        """Return the seconds so far, without those in which the engine paused the container."""
        read_at = self._clock()
        self._awake += min(read_at - self._read_at, _LONGEST_STEP)
        self._read_at = read_at
        return self._awake

    def _note(self, *, is_ready: bool) -> None:
        state = "ready" if is_ready else "starting"
        beside = self._state_file.with_suffix(".new")
        with contextlib.suppress(OSError):  # without a /tmp only the check suffers
            beside.write_text(f"{state} {time.monotonic():.1f}\n")
            beside.replace(self._state_file)


def check(state_file: Path = STATE_FILE, silent_seconds: float = SILENT_SECONDS) -> tuple[int, str]:
    """Return 0 if the command is ready and makes progress, else 1; and a line that says it."""
    try:
        state, _, at = state_file.read_text().partition(" ")
        silent = time.monotonic() - float(at)
    except (OSError, ValueError):
        return 1, "not ready: it has not reported yet"
    if silent > silent_seconds:
        return 1, f"not ready: silent for {silent:.0f} s"
    return (0, "ready") if state == "ready" else (1, f"not ready: {state}")


def _environment(reports: socket.socket) -> dict[str, str]:
    address = reports.getsockname().replace(b"\0", b"@", 1).decode("ascii")
    return {**os.environ, "NOTIFY_SOCKET": address}  # noqa: TID251 -- no setting is read


def _start_seconds(command: Sequence[str]) -> float:
    """Return how long a command may take to its first report; others than parts never report."""
    return START_SECONDS if _REPORTING.intersection(command[1:2]) else math.inf


def _reap(pid: int) -> int | None:
    """Collect the processes that ended, and return the exit status of `pid` if it is one."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else _BY_SIGNAL - code


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 -- the log is the command's


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, or the check, that the command line asks for."""
    parser = argparse.ArgumentParser(prog="service.container", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    run = what.add_parser("run", help="run a command")
    run.add_argument("--start-seconds", type=float, help="until the first report")
    run.add_argument("--silent-seconds", type=float, default=SILENT_SECONDS)
    run.add_argument("command", nargs=argparse.REMAINDER)
    what.add_parser("check", help="whether the command is ready and makes progress")
    chosen = parser.parse_args(arguments)
    if chosen.what == "check":
        status, line = check()
        print(line, file=sys.stderr if status else sys.stdout)
        return status
    command = chosen.command[1:] if chosen.command[:1] == ["--"] else chosen.command
    if not command:
        run.error("which command?")
    return Container(
        command, start_seconds=chosen.start_seconds, silent_seconds=chosen.silent_seconds
    ).run()


if __name__ == "__main__":
    sys.exit(main())
