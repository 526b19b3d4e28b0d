"""The context that all parts of the deliver worker share, and ledger writes fenced by a lease."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from service.domain.backoff import backoff_seconds
from service.domain.delivery import Delivery
from service.domain.reasons import Reason
from service.settings import Destination, Settings
from service.storage.ledger import Ledger, StaleLeaseError
from service.storage.spool import Spool
from service.telemetry.metrics import PARKED, STALE_LEASES
from service.telemetry.progress import Progress

DAY_SECONDS: Final = 86_400
# to an object and, where that response cannot be read, to a search; each may take twice the limit,
# once until it begins and once until its last byte
_RESPONSES_IN_A_STEP: Final = 4

log = structlog.get_logger()


@dataclass(slots=True)
class LedgerWrite:
    """Whether a write was made."""

    done: bool = False


@contextmanager
def write_if_current() -> Iterator[LedgerWrite]:
    """Write to the ledger under a lease; where another holds it by now, count that and go on.

    Yields:
        The write, `done` after the block unless it raised StaleLeaseError and changed nothing.
    """
    written = LedgerWrite()
    try:
        yield written
    except StaleLeaseError:
        STALE_LEASES.inc()
    else:
        written.done = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryContext:
    """Settings and stores of the deliver worker, and the decisions that its parts share."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    holder: str  # of the leases
    stopping: threading.Event = field(default_factory=threading.Event)  # set: send no more
    progress: Progress = field(default_factory=Progress)

    @property
    def step_seconds(self) -> float:
        """How long one step of a delivery may take, by the time limits of the slowest peer."""
        settings = self.settings
        peers = (*settings.destinations, *settings.dicom.commitment_peers)
        limits = (
            each.connect_seconds + _RESPONSES_IN_A_STEP * each.response_seconds for each in peers
        )
        return settings.stuck_seconds + max(limits, default=0)

    def open_breaker(self, destination: Destination, why: str) -> None:
        """Open the breaker of a destination that cannot be reached, for longer each time."""
        seconds = self.ledger.deliveries.open_breaker(destination.name, self.pause_seconds)
        log.warning(
            "destination_unreachable",
            destination=destination.name,
            reason=why,
            seconds=round(seconds, 1),
        )

    def park(self, delivery: Delivery, reason: Reason, *, status: int | None = None) -> None:
        """Park a delivery until its job is requeued."""
        with write_if_current() as written:
            self.ledger.deliveries.park(delivery, reason, status=status)
        if written.done:
            PARKED.labels(reason=reason).inc()
            log.error(
                "delivery_parked",
                job_id=delivery.job_id,
                destination=delivery.destination,
                reason=reason,
            )

    def is_too_old(self, since: float) -> bool:
        """Return whether something tried since then, by the scheduling clock, is given up."""
        return self.ledger.now() - since > self.settings.deliver.give_up_days * DAY_SECONDS

    def pause_seconds(self, tries: int) -> float:
        """Return how long to wait after the n-th failure."""
        limits = self.settings.deliver
        return backoff_seconds(
            tries, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
        )
