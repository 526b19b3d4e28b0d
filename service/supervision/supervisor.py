"""Start the processes of one machine, restart those that exit, and drain them on SIGTERM."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from service.domain.backoff import backoff_seconds
from service.errors import EX_CONFIG, EX_TEMPFAIL, ExplainedError
from service.process_limits import die_before_others
from service.storage.ledger import Ledger, LedgerError
from service.storage.private_files import make_private_directory
from service.supervision.notifications import Notifications
from service.telemetry.heartbeat import holder_name
from service.telemetry.progress import AwakeClock
from service.telemetry.watchdog import ServiceManager

_STEADY_SECONDS: Final = 60  # a part that ran longer restarts without a pause
_LONGEST_PAUSE_SECONDS: Final = 30
_POLL_SECONDS: Final = 0.2
_GRACE_SECONDS: Final = 5  # between SIGTERM and SIGKILL of a part that is stuck
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)

log = structlog.get_logger()


class PartMisconfiguredError(ExplainedError):
    """A part cannot work as configured; it printed the reason on standard error."""

    exit_status = EX_CONFIG


class AlreadyRunningError(ExplainedError):
    """Another `lobar up` uses the same state directory."""

    exit_status = EX_TEMPFAIL


@dataclass(slots=True, kw_only=True)
class Part:
    """One child process that is kept running. Times are those of `time.monotonic`."""

    role: str
    command: Sequence[str]
    is_needed_by_others: bool = False  # it is stopped after them
    oom_score: int = 0  # how much earlier than the supervisor it is ended when memory runs out
    variables: Mapping[str, str] = field(default_factory=dict)  # of its environment alone
    descriptors: Sequence[int] = ()  # that it inherits
    is_watched: bool = True  # it reports its progress, see `service.telemetry.watchdog`
    waits_at_first: bool = False  # until the others work, whose start it would delay
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0  # exits in a row, none of them after a steady run
    start_at: float = field(default_factory=time.monotonic)
    # by the supervisor's awake clock:
    progress_at: float = 0.0  # its start, or its last message that it makes progress
    silent_seconds: float = 0.0  # how long no such message may come
    works: bool = False  # such a message came since its start
    kill_at: float | None = None  # it is stuck and was sent SIGTERM

    def schedule_restart(self) -> float:
        """Count an exit, set when to start again, and return the pause until then in seconds."""
        ran = time.monotonic() - self.started_at
        self.failures = 1 if ran > _STEADY_SECONDS else self.failures + 1
        pause = (
            0.0
            if self.failures == 1
            else backoff_seconds(self.failures - 1, first=1, longest=_LONGEST_PAUSE_SECONDS)
        )
        self.process, self.start_at = None, time.monotonic() + pause
        return pause


@contextmanager
def sole_supervisor(state_dir: Path) -> Iterator[None]:
    """Lock the state directory while the block runs, so that two `lobar up` never share one.

    Raises:
        AlreadyRunningError: another process holds the lock.
        NotPrivateError: other accounts of the machine can read the state directory.
    """
    make_private_directory(state_dir)
    with (state_dir / "lobar.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise AlreadyRunningError(
                f"Another `lobar up` runs with the state directory {state_dir}."
            ) from exc
        yield


class Supervisor:
    """Keeps the parts running until SIGTERM or SIGINT."""

    def __init__(
        self,
        parts: Sequence[Part],
        ledger: Ledger,
        *,
        environment: Mapping[str, str],
        drain_seconds: float,
        start_seconds: float,
        stuck_seconds: float,
        grace_seconds: float = _GRACE_SECONDS,
    ) -> None:
        self._parts = parts
        self._ledger = ledger
        self._environment = dict(environment)
        self._drain_seconds = drain_seconds
        self._start_seconds = start_seconds
        self._stuck_seconds = stuck_seconds
        self._grace_seconds = grace_seconds
        self._stopping = False
        self._clock = AwakeClock()
        self._notifications = Notifications()
        self._manager = ServiceManager()  # of the supervisor itself

    def run(self, stop_listening: Callable[[], None] = lambda: None) -> None:
        """Start every part and restart those that exit, until SIGTERM or SIGINT; then drain.

        Args:
            stop_listening: is called before the parts are stopped.

        Raises:
            PartMisconfiguredError: a part cannot work as configured. The others are drained first.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        try:
            while not self._stopping:
                self._clock.read()
                self._receive_progress()
                for part in self._parts:
                    self._watch(part)
                self._manager.send(READY="1", WATCHDOG="1")
                time.sleep(_POLL_SECONDS)
        finally:
            log.info("stopping")
            self._manager.send(STOPPING="1")
            stop_listening()
            self._drain()
            self._notifications.close()

    def _stop(self, _number: int, _frame: object) -> None:
        # log nothing here: the interrupted statement may hold the lock of the log
        self._stopping = True

    def _watch(self, part: Part) -> None:
        if part.process is None:
            if time.monotonic() >= part.start_at and not self._stopping and self._may_start(part):
                self._start(part)
        elif part.process.poll() is not None:
            self._handle_exit(part, part.process)
        elif part.kill_at is not None:
            if self._clock.now >= part.kill_at:
                part.process.kill()
        elif part.is_watched:
            silent = self._clock.now - part.progress_at
            if silent > part.silent_seconds:
                self._end_stuck(part, part.process, silent)

    def _may_start(self, part: Part) -> bool:
        """Return whether a part need not wait for others, or waited as long as they may take."""
        if not part.waits_at_first or part.started_at:
            return True
        others = [each for each in self._parts if each.is_watched and not each.waits_at_first]
        waited = time.monotonic() - part.start_at
        return all(each.works for each in others) or waited >= self._start_seconds

    def _receive_progress(self) -> None:
        """Note which parts make progress, and end those that report that their work is stuck."""
        parts = {part.process.pid: part for part in self._parts if part.process is not None}
        for pid, notification in self._notifications.receive():
            part = parts.get(pid)
            if part is None or part.process is None or not part.is_watched:
                continue
            if notification.stuck_seconds is not None:
                self._end_stuck(part, part.process, notification.stuck_seconds)
            elif notification.is_progress:
                part.progress_at = self._clock.now
                part.silent_seconds = self._stuck_seconds
                part.works = True

    def _end_stuck(self, part: Part, process: subprocess.Popen[bytes], seconds: float) -> None:
        """Request a part that makes no progress to end, and have it killed if it does not."""
        if part.kill_at is not None:
            return
        log.error("part_stuck", role=part.role, pid=process.pid, seconds=round(seconds))
        process.terminate()
        part.kill_at = self._clock.now + self._grace_seconds

    def _start(self, part: Part) -> None:
        part.progress_at, part.silent_seconds = self._clock.now, self._start_seconds
        part.kill_at, part.works = None, False
        part.process = subprocess.Popen(
            part.command,
            env=self._environment
            | {"NOTIFY_SOCKET": self._notifications.address}
            | dict(part.variables),
            pass_fds=part.descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # parts write to standard error only
            # a group of its own, so that Ctrl-C in a terminal does not stop all parts at once:
            # the supervisor stops them in order
            process_group=0,
            # a part must not outlive a killed supervisor; safe, as only one thread runs yet
            preexec_fn=partial(_begin, os.getpid(), part.oom_score),  # noqa: PLW1509
        )
        part.started_at = time.monotonic()
        log.info("part_started", role=part.role, pid=part.process.pid)

    def _handle_exit(self, part: Part, process: subprocess.Popen[bytes]) -> None:
        """Schedule a restart and release the leases of the process that exited."""
        if process.returncode == EX_CONFIG:  # a restart would not help
            part.process = None
            raise PartMisconfiguredError(f"{part.role} cannot work as configured: see above")
        pause = part.schedule_restart()
        log.error(
            "part_died",
            role=part.role,
            pid=process.pid,
            returncode=process.returncode,
            seconds=round(pause, 1),
        )
        with contextlib.suppress(LedgerError):  # without the release, its leases expire
            self._ledger.release(holder_name(part.role, process.pid))

    def _drain(self) -> None:
        """Stop the parts, then those that others need; kill what exceeds `drain_seconds`."""
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


def _begin(parent: int, oom_score: int) -> None:
    """Prepare a part in its own process, before its program runs."""
    die_with_parent(parent)
    die_before_others(oom_score)


def die_with_parent(parent: int) -> None:
    """Request SIGTERM for this process when `parent` dies; for `preexec_fn` of a child."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the request
        os._exit(1)
