"""The deliver worker: serve the queue of each destination, and that of the commitment results."""

import threading
from typing import Final

import structlog

from service.domain.queues import COMMITMENTS, DELIVER
from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.spool import Spool
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.metrics import DELIVERIES, DELIVERY_OUTCOMES
from service.telemetry.progress import Progress
from service.telemetry.tracing.starting import spans_exported
from workers.delivery.context import DeliveryContext
from workers.delivery.pool.notice import Notice
from workers.delivery.storage_commitment.respond import CommitmentResponder
from workers.delivery.worker import DeliveryWorker
from workers.tasks.celery_worker import work

_SPARE_THREADS: Final = 1  # so that a superfluous wake-up never waits behind a slow destination

log = structlog.get_logger()


def run(settings: Settings, ledger: Ledger, spool: Spool, redis_url: str) -> None:
    """Serve destination queues at every wake-up until SIGTERM."""
    stopping, ready, progress = threading.Event(), threading.Event(), Progress()
    with (
        spans_exported(settings.tracing, "deliver"),
        HeartbeatSender(ledger, "deliver", ready.is_set, progress) as heartbeat,
    ):
        context = DeliveryContext(
            settings=settings,
            ledger=ledger,
            spool=spool,
            holder=heartbeat.holder,
            stopping=stopping,
            progress=progress,
        )
        queues = DestinationQueues(context)
        work(
            redis_url,
            DELIVER,
            queues.serve,
            ready=ready,
            stopping=stopping,
            pool="threads",
            concurrency=len(queues) + _SPARE_THREADS,
        )


class DestinationQueues:
    """One queue per destination and one for commitment results, each served by one thread."""

    def __init__(self, context: DeliveryContext) -> None:
        names = [*(each.name for each in context.settings.destinations), COMMITMENTS]
        self._locks = {name: threading.Lock() for name in names}
        self._notices = {name: Notice() for name in names}
        self._settings = context.settings
        self._progress = context.progress
        self._step_seconds = context.step_seconds
        self._worker = DeliveryWorker(context)
        self._responder = CommitmentResponder(context)
        for each in context.settings.destinations:
            for outcome in DELIVERY_OUTCOMES:  # a rate misses the first count of a new series
                DELIVERIES.labels(destination=each.name, outcome=outcome)

    def __len__(self) -> int:
        return len(self._locks)

    def serve(self, name: str) -> None:
        """Do all that is due in one queue, unless another thread is at it: that one does it.

        What becomes due after that thread has looked for the last time is not left to the relay:
        it looks again when it ends.
        """
        if name not in self._locks:
            return  # removed since the notification was sent
        notice = self._notices[name]
        notice.give()
        while notice.is_given and self._locks[name].acquire(blocking=False):
            try:
                notice.take()
                with self._progress.working(name, self._step_seconds):
                    self._serve(name)
            except LedgerError as exc:  # the leases run out, and the relay wakes the queue again
                log.warning("delivery_interrupted", destination=name, exc_info=exc)
            finally:
                self._locks[name].release()

    def _serve(self, name: str) -> None:
        destination = self._settings.destination(name)
        if destination is None:
            self._responder.respond_due()
        else:
            self._worker.deliver_due(destination, self._notices[name])
