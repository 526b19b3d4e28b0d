"""Everything on one machine: starts the parts, starts again what dies, and drains on SIGTERM."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from service.domain.backoff import backoff_seconds
from service.errors import EX_CONFIG, EX_TEMPFAIL, ExplainedError
from service.storage.ledger import Ledger, LedgerError
from service.telemetry.heartbeat import holder_name

_STEADY_SECONDS: Final = 60  # a part that lived that long starts again at once
_LONGEST_PAUSE_SECONDS: Final = 30
_LOOK_SECONDS: Final = 0.2
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

log = structlog.get_logger()


class PartMisconfiguredError(ExplainedError):
    """A part cannot work as configured; it said why on standard error."""

    exit_status = EX_CONFIG


class AlreadyRunningError(ExplainedError):
    """Another `lobar up` works in the same state directory."""

    exit_status = EX_TEMPFAIL


@dataclass(slots=True, kw_only=True)
class Part:
    """One child process that should always be there."""

    role: str
    command: Sequence[str]
    is_needed_by_others: bool = False  # it is stopped after them
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = field(default_factory=time.monotonic)


@contextmanager
def sole_supervisor(state_dir: Path) -> Iterator[None]:
    """Hold the state directory, so that two `lobar up` never share one.

    Raises:
        AlreadyRunningError: somebody else holds it.
    """
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (state_dir / "lobar.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise AlreadyRunningError(
                f"Another `lobar up` runs with the state directory {state_dir}."
            ) from exc
        yield


class Supervisor:
    """Keeps the parts alive until it is told to stop."""

    def __init__(
        self,
        parts: Sequence[Part],
        ledger: Ledger,
        *,
        environment: Mapping[str, str],
        drain_seconds: float,
    ) -> None:
        self._parts = parts
        self._ledger = ledger
        self._environment = dict(environment)
        self._drain_seconds = drain_seconds
        self._stopping = False

    def run(self) -> None:
        """Start every part and watch; SIGTERM or SIGINT ends it, drained, within the bound.

        Raises:
            PartMisconfiguredError: a part cannot work as configured; the others are drained.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            while not self._stopping:
                for part in self._parts:
                    self._watch(part)
                time.sleep(_LOOK_SECONDS)
        finally:
            log.info("stopping")
            self._drain()

    def _stop(self, _number: int, _frame: object) -> None:
        # no word in here: the log's lock may be held by the very line that was interrupted
        self._stopping = True

    def _watch(self, part: Part) -> None:
        if part.process is None:
            if time.monotonic() >= part.start_at and not self._stopping:
                self._start(part)
        elif part.process.poll() is not None:
            self._bury(part, part.process)

    def _start(self, part: Part) -> None:
        part.process = subprocess.Popen(
            part.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what a part has to say, it says on standard error
            # a terminal's Ctrl-C must reach the parts through us, in order, not all at once
            process_group=0,
            # the parts must not outlive us, however we go; there is one thread at this time
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509
        )
        part.started_at = time.monotonic()
        log.info("part_started", role=part.role, pid=part.process.pid)

    def _bury(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        if process.returncode == EX_CONFIG:  # starting again would not help
            part.process = None
            raise PartMisconfiguredError(f"{part.role} cannot work as configured: see above")
        lived = time.monotonic() - part.started_at
        part.failures = 1 if lived > _STEADY_SECONDS else part.failures + 1
        pause = (
            0.0
            if part.failures == 1
            else backoff_seconds(part.failures - 1, first=1, longest=_LONGEST_PAUSE_SECONDS)
        )
        part.process, part.start_at = None, time.monotonic() + pause
        log.error(
            "part_died",
            role=part.role,
            pid=process.pid,
            returncode=process.returncode,
            seconds=round(pause, 1),
        )
        with contextlib.suppress(LedgerError):  # else its leases run out
            self._ledger.release(holder_name(part.role, process.pid))

    def _drain(self) -> None:
        """Let the parts finish what they do, within the bound; then what they needed."""
        until = time.monotonic() + self._drain_seconds
        for last in (False, True):
            parts = [part for part in self._parts if part.is_needed_by_others is last]
            running = [part.process for part in parts if part.process is not None]
            for process in running:
                process.terminate()
            for process in running:
                _wait_or_kill(process, until)


def _wait_or_kill(process: subprocess.Popen[bytes], until: float) -> None:
    try:
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        log.warning("part_killed", pid=process.pid)
        process.kill()
        process.wait()


def lobar_command(*words: str) -> list[str]:
    """Return the command line that runs `lobar` from this same installation.

    With -P Python does not look for modules in the working directory, where a folder named
    `service` would otherwise be taken for the installed package.
    """
    return [sys.executable, "-P", "-m", "service.cli", *words]


def die_with_parent(parent: int) -> None:
    """Ask the kernel, in a child about to become a program, for SIGTERM when `parent` dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the request was made
        os._exit(1)
