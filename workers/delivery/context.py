"""What every lane of the deliver worker works with, and how it lets go of what it holds."""

import threading
import time
from collections.abc import Callable
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

DAY_SECONDS: Final = 86_400

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What delivery works with."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    holder: str
    stopping: threading.Event = field(default_factory=threading.Event)


def leave_alone(rooms: Rooms, destination: Destination, why: str) -> None:
    """Open a silent destination's breaker, for longer each time."""
    seconds = rooms.ledger.deliveries.open_breaker(
        destination.name, lambda failures: pause(rooms, failures)
    )
    log.warning(
        "destination_unreachable",
        destination=destination.name,
        reason=why,
        seconds=round(seconds, 1),
    )


def park(rooms: Rooms, delivery: Delivery, reason: Reason, *, status: int | None = None) -> None:
    """Give a delivery up until a person requeues its job."""
    if kept(rooms.ledger.deliveries.park, delivery, reason, status=status):
        PARKED.labels(reason=reason).inc()
        log.error(
            "delivery_parked",
            job_id=delivery.job_id,
            destination=delivery.destination,
            reason=reason,
        )


def is_too_old(rooms: Rooms, since: float) -> bool:
    """Tell whether something has been tried for so long that it is given up."""
    return time.time() - since > rooms.settings.deliver.give_up_days * DAY_SECONDS


def pause(rooms: Rooms, tries: int) -> float:
    """Give the seconds to wait after the n-th failure."""
    limits = rooms.settings.deliver
    return backoff_seconds(
        tries, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
    )


def kept(write: Callable[..., None], *values: object, **named: object) -> bool:
    """Write to the ledger; False when the lease was another's by then and nothing was changed."""
    try:
        write(*values, **named)
    except StaleLeaseError:
        STALE_LEASES.inc()
        return False
    return True
