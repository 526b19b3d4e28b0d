"""Reports to the service manager (sd_notify) that this process makes progress, or does not.

The service manager is `lobar up`, or systemd where it runs a part by itself: both give the address
of a datagram socket in NOTIFY_SOCKET (sd_notify(3)).
"""

import socket
import threading
from collections.abc import Callable
from typing import Final

import structlog

from service.settings import notify_socket
from service.telemetry.progress import Progress, StuckWork

INTERVAL_SECONDS: Final = 1.0
STUCK_SECONDS: Final = "X_STUCK_SECONDS"  # sd_notify(3) leaves names that begin with X_ to programs

log = structlog.get_logger()


class ServiceManager:
    """The service manager of this process; without one, nothing is sent."""

    def __init__(self) -> None:
        address = notify_socket()
        # a leading @ stands for the zero byte of an abstract address (unix(7))
        self._address = None if address is None else address.replace("@", "\0", 1)

    def send(self, **assignments: str) -> None:
        """Send assignments such as READY=1. A message that cannot be sent at once is dropped.

        The next one follows soon, and the work must not wait for its service manager.
        """
        if self._address is None:
            return
        message = "\n".join(f"{name}={value}" for name, value in assignments.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(0)
                sender.sendto(message.encode(), self._address)
        except OSError as exc:
            log.debug("notification_dropped", exc_info=exc)


class Watchdog:
    """A thread that reports this process' progress every second, whatever the ledger does."""

    def __init__(self, role: str, ready: Callable[[], bool], progress: Progress) -> None:
        self._role = role
        self._ready = ready
        self._progress = progress
        self._manager = ServiceManager()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self.stuck: StuckWork | None = None  # as of the last second

    def start(self) -> None:
        """Report until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join(timeout=2 * INTERVAL_SECONDS)

    def _run(self) -> None:
        while True:
            self._report()
            if self._stopped.wait(INTERVAL_SECONDS):
                return

    def _report(self) -> None:
        before, self.stuck = self.stuck, self._progress.stuck_work()
        if self.stuck is not None:
            seconds = round(self.stuck.seconds)
            if before is None:  # before the message, upon which this process may be ended
                self._record(self.stuck.name, seconds)
            self._manager.send(WATCHDOG="trigger", **{STUCK_SECONDS: str(seconds)})
        elif self._ready():
            self._manager.send(READY="1", WATCHDOG="1")
        else:
            self._manager.send(WATCHDOG="1")

    def _record(self, name: str, seconds: int) -> None:
        from service.telemetry.metrics import STUCK  # noqa: PLC0415 -- the supervisor imports this module and must not count

        STUCK.labels(role=self._role).inc()
        log.error("work_stuck", role=self._role, queue=name, seconds=seconds)
