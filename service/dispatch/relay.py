"""The relay: notifies workers of all due work, and removes what retention allows.

It makes up for lost notifications. It has no state of its own: it queries the ledger each time.
"""

import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import structlog

from service.dispatch.notifier import Notifier
from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.retention import AT_ONCE, Purged, purge
from service.storage.spool import Spool
from service.telemetry.progress import Progress

_ORPHAN_SECONDS: Final = 3_600  # no C-STORE takes that long between spool and commit

log = structlog.get_logger()


class Relay:
    """The loop over the ledger."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        spool: Spool,
        notifier: Notifier,
        progress: Progress | None = None,
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        self._at_once = at_once  # jobs that retention takes in one step
        self._stopping = threading.Event()
        self._settings = settings
        self._ledger = ledger
        self._spool = spool
        self._notifier = notifier
        self._progress = progress or Progress()

    def run(self, stopping: threading.Event) -> None:
        """Notify and sweep until `stopping` is set; log errors of ledger or disk and go on.

        Sweeping has a thread of its own: it reads whole directories, and workers are notified
        meanwhile.
        """
        self._stopping = stopping
        with ThreadPoolExecutor(1, "sweep") as thread:
            sweeping = thread.submit(self._sweep_regularly, stopping)
            while not stopping.is_set() and not sweeping.done():
                with _logged(), self._progress.working("notify", self._settings.stuck_seconds):
                    self.notify_due()
                    self._ledger.tallies.fold()
                stopping.wait(self._settings.relay.interval_seconds)
            sweeping.result()  # what no step of it expects ends the relay

    def _sweep_regularly(self, stopping: threading.Event) -> None:
        relay = self._settings.relay
        seconds = self._settings.stuck_seconds + relay.sweep_seconds
        while not stopping.is_set():
            with _logged(), self._progress.working("sweep", seconds):
                self.sweep()
            stopping.wait(relay.sweep_seconds)

    def notify_due(self) -> None:
        """Notify each queue, and each destination's queue, that has due work."""
        for queue in self._ledger.queries.queues():
            self._notifier.notify(*queue)

    def sweep(self) -> None:
        """Park deliveries to removed destinations, remove orphaned files, and apply retention."""
        names = [destination.name for destination in self._settings.destinations]
        parked = self._ledger.deliveries.park_unknown(names)
        orphans = self._spool.sweep(self._known, older_than_seconds=_ORPHAN_SECONDS)
        purged = self._purge()
        if parked or orphans or purged.jobs:
            log.info("swept", deliveries=parked, removed=orphans, jobs=purged.jobs)

    def _known(self, ids: Collection[str]) -> Collection[str]:
        """Ask the ledger which jobs of a folder it has; a spool of many nodes has many files."""
        self._progress.touch("sweep")
        return self._ledger.jobs.known(ids)

    def _purge(self) -> Purged:
        """Apply retention in steps, until nothing is left that it allows to remove.

        One step a sweep would keep up with the instances of one node, and not of a large site.
        """
        done = Purged()
        while not self._stopping.is_set():
            more = purge(self._settings, self._ledger, self._spool, at_once=self._at_once)
            done += more
            if more.jobs < self._at_once:
                break
            self._progress.touch("sweep")
        return done


@contextmanager
def _logged() -> Iterator[None]:
    """Log an error of the ledger or of the disk; the next turn tries again."""
    try:
        yield
    except (LedgerError, OSError) as exc:
        log.warning("relay_failed", exc_info=exc)
