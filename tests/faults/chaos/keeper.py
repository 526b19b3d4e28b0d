"""Keeps `lobar up` running as a service manager would, and finds its processes for the faults."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from support.lobar_process import LobarService, processes_of
from support.system.programs import find_program

RESTART_SECONDS: Final = 1.0  # as systemd's RestartSec
LIBFAKETIME: Final = "/usr/lib/*/faketime/libfaketimeMT.so.1"
# libfaketime 0.9.10 makes clock_nanosleep with an absolute time fail, with which Python sleeps.
SLEEP_OTHERWISE: Final = """
import select
import time


def sleep(seconds):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep
"""


class Keeper:
    """Starts `lobar up` whenever it is not running, until it is told to stop."""

    def __init__(self, service: LobarService) -> None:
        self._service = service
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # the thread that starts a process must outlive it: the kernel kills the process with it
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._killed: set[int] = set()
        self.exits: list[int] = []  # return codes of those that nobody killed

    def start(self) -> None:
        """Begin, without waiting for the service to be ready."""
        self._thread.start()

    def stop(self) -> None:
        """End the service and every process of it by force: nobody needs it any more."""
        self._stopping.set()
        self.kill()
        self._thread.join()
        for pid in processes_of(self._service.state_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill(self) -> bool:
        """Kill the supervisor with SIGKILL; false if it is not running."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        self._killed.add(process.pid)
        process.kill()
        return True

    def parts(self) -> dict[str, int]:
        """Return the process id of each running part by its role."""
        process = self._process
        if process is None:
            return {}
        found = {}
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        with contextlib.suppress(OSError):
            for pid in children.read_text().split():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                    if words != [""]:  # as of one that has ended
                        found[role_of(words)] = int(pid)
        return found

    def signal_part(self, role: str, number: signal.Signals) -> bool:
        """Send a signal to a part; false if it is not running."""
        pid = self.parts().get(role)
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def _keep(self) -> None:
        setpriv = find_program("setpriv")
        dies_with_us = [str(setpriv), "--pdeathsig", "KILL", "--"] if setpriv else []
        command = [*dies_with_us, *self._service.command_prefix()]
        command += [sys.executable, "-m", "service.cli", "up"]
        while not self._stopping.is_set():
            with self._service.log.open("ab") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            returncode = self._process.wait()
            if self._process.pid not in self._killed and not self._stopping.is_set():
                self.exits.append(returncode)
            self._stopping.wait(RESTART_SECONDS)


def role_of(words: list[str]) -> str:
    """Return the role of a process by its command line: `lobar worker infer` is infer.

    Redis and Valkey write their address over their command line once they run.
    """
    if re.search(r"/(redis|valkey)-server\b", words[0]):
        return "redis"
    return [word for word in words if word][-1]


class SteppedClock:
    """The clock of the service's processes, by libfaketime and a file with an offset."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "clock-offset"
        self._library = library
        self._lock = threading.Lock()
        self.step_to(0)

    def settings(self) -> dict[str, str]:
        """Return the environment of processes that have this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # else each wait for Python's lock ends at once, and threads take it from each other
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def step_to(self, offset_seconds: int) -> None:
        """Let the clock stand so far from the machine's, within a second."""
        with self._lock:
            aside = self._file.with_suffix(".new")
            aside.write_text(f"{offset_seconds:+d}\n")
            aside.rename(self._file)


def find_libfaketime() -> Path | None:
    """Return libfaketime's library for threads, where the machine has it."""
    return next(iter(sorted(Path("/").glob(LIBFAKETIME.lstrip("/")))), None)


def let_sleep(service: LobarService) -> None:
    """Let Python sleep with select(2) in the processes of a service with a stepped clock."""
    (Path(service.environment["PYTHONPATH"]) / "sitecustomize.py").write_text(SLEEP_OTHERWISE)


def wait_until_ready(service: LobarService, seconds: float) -> bool:
    """Wait for readiness; false if it does not come in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if service.is_ready():
            return True
        time.sleep(0.25)
    return False
