"""The relay: notifies workers of all due work, and removes what retention allows.

It makes up for lost notifications. It has no state of its own: it queries the ledger each time.
"""

import threading
import time
from typing import Final

import structlog

from service.dispatch.notifier import Notifier
from service.domain.queues import COMMITMENTS, DELIVER, INFER
from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.retention import purge
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
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._spool = spool
        self._notifier = notifier
        self._progress = progress or Progress()
        self._swept_at = -float("inf")

    def run(self, stopping: threading.Event) -> None:
        """Notify and sweep until `stopping` is set; log errors of ledger or disk and go on."""
        while not stopping.is_set():
            try:
                with self._progress.working("notify", self._settings.stuck_seconds):
                    self.notify_due()
                if time.monotonic() - self._swept_at >= self._settings.relay.sweep_seconds:
                    # also when it fails, because it reads whole directories
                    self._swept_at = time.monotonic()
                    self._sweep_watched()
            except (LedgerError, OSError) as exc:
                log.warning("relay_failed", exc_info=exc)
            stopping.wait(self._settings.relay.interval_seconds)

    def notify_due(self) -> None:
        """Notify each queue, and each destination's queue, that has due work."""
        due = self._ledger.queries.due()
        if due.infer:
            self._notifier.notify(INFER)
        for destination in due.deliver.keys() | due.commit.keys():
            self._notifier.notify(DELIVER, destination)
        if due.answer:
            self._notifier.notify(DELIVER, COMMITMENTS)

    def _sweep_watched(self) -> None:
        relay, stuck_seconds = self._settings.relay, self._settings.stuck_seconds
        with self._progress.working("sweep", stuck_seconds + relay.sweep_seconds):
            self.sweep()

    def sweep(self) -> None:
        """Park deliveries to removed destinations, remove orphaned files, and apply retention."""
        names = [destination.name for destination in self._settings.destinations]
        parked = self._ledger.deliveries.park_unknown(names)
        orphans = self._spool.sweep(self._ledger.jobs.exists, older_than_seconds=_ORPHAN_SECONDS)
        purged = purge(self._settings, self._ledger, self._spool)
        if parked or orphans or purged.jobs:
            log.info("swept", deliveries=parked, removed=orphans, jobs=purged.jobs)
