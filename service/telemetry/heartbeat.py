"""The heartbeat of a process in the ledger, and the name under which it holds leases."""

import os
import platform
import re
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import structlog

from service.storage.ledger import Ledger, LedgerError
from service.telemetry.metrics import CLOCK_JUMPS, PART_STARTS
from service.telemetry.progress import Progress
from service.telemetry.usage import PartUsage
from service.telemetry.watchdog import Watchdog

HEARTBEAT_SECONDS: Final = 2.0
_STARTING_SECONDS: Final = HEARTBEAT_SECONDS / 8  # between those of a process that is not ready
_LOOKS: Final = 10  # in that time, whether it is ready: others wait for it
FRESH_SECONDS: Final = 20.0  # a process whose heartbeat is older is not counted as running

log = structlog.get_logger()


def machine() -> str:
    """Return the beginning of every holder's name on this machine: `HOST/`."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", platform.node() or "localhost")[:64] + "/"


def holder_name(role: str, pid: int | None = None) -> str:
    """Return the holder name of a process: `HOST/ROLE/PID/`.

    The final slash keeps the name of process 12 from being the beginning of that of 123.
    """
    return f"{machine()}{role}/{os.getpid() if pid is None else pid}/"


class HeartbeatSender:
    """Sends heartbeats while the process runs; on exit, releases the leases it still holds.

    A heartbeat says whether the process is ready and whether its work makes progress. The
    watchdog says the same to the service manager, also while the ledger does not answer.
    """

    def __init__(
        self, ledger: Ledger, role: str, ready: Callable[[], bool], progress: Progress
    ) -> None:
        self.holder = holder_name(role)
        self._ledger = ledger
        self._role = role
        self._ready = ready
        self._watchdog = Watchdog(role, ready, progress)
        self._usage = PartUsage(role)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        PART_STARTS.labels(role=self._role).inc()
        self._watchdog.start()
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._watchdog.stop()
        self._thread.join(timeout=2 * HEARTBEAT_SECONDS)
        try:
            self._ledger.release(self.holder)
        except LedgerError as exc:
            log.warning("leases_not_released", exc_info=exc)

    def _run(self) -> None:
        while not self._wait():
            self._beat()

    def _wait(self) -> bool:
        """Wait until a heartbeat is due; return whether the process ends."""
        if self._is_ready():
            return self._stopped.wait(HEARTBEAT_SECONDS)
        for _ in range(_LOOKS):
            if self._stopped.wait(_STARTING_SECONDS / _LOOKS):
                return True
            if self._is_ready():
                return False
        return False

    def _is_ready(self) -> bool:
        return self._ready() and self._watchdog.stuck is None

    def _beat(self) -> None:
        self._usage.record()
        try:
            jump = self._ledger.heartbeats.beat(
                self._role,
                self.holder,
                ready=self._is_ready(),
                progress=self._watchdog.stuck is None,
            )
            if jump is not None:
                CLOCK_JUMPS.inc()
                log.warning("clock_jumped", seconds=round(jump, 1))
        except LedgerError as exc:
            log.warning("heartbeat_failed", exc_info=exc)
