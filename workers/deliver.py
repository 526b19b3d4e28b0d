"""Leases what is owed to one destination, sends it, and keeps what the destination answered."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from service.doorbell import DELIVER
from service.heart import Heart
from service.job import Delivery, JobState, backoff_seconds
from service.ledger import Ledger, LedgerError, StaleLeaseError
from service.metrics import (
    DELIVERIES,
    DELIVERY_STATUS,
    END_TO_END_SECONDS,
    PARKED,
    STAGE_SECONDS,
    STALE_LEASES,
    status_label,
)
from service.reasons import Reason
from service.settings import Destination, Settings
from service.spool import Spool
from workers.app import work
from workers.outgoing import Answer, AwayError, DamagedError, UnreachableError
from workers.sending import Way, open_way

DAY_SECONDS: Final = 86_400
_SPARE_THREADS: Final = 1  # a ring too many must not wait behind a slow destination

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What delivery works with."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    holder: str
    stopping: threading.Event = field(default_factory=threading.Event)


def run(settings: Settings, ledger: Ledger, spool: Spool, redis_url: str) -> None:
    """Answer the queue's rings until SIGTERM; one lane, and so one association, a destination."""
    stopping, ready = threading.Event(), threading.Event()
    lanes = {each.name: threading.Lock() for each in settings.destinations}
    with Heart(ledger, "deliver", ready=ready.is_set) as heart:
        rooms = Rooms(
            settings=settings,
            ledger=ledger,
            spool=spool,
            holder=heart.holder,
            stopping=stopping,
        )

        def deliver(name: str) -> None:
            destination = settings.destination(name)
            if destination is None or not lanes[name].acquire(blocking=False):
                return  # removed since the ring, or being served: whoever serves it sees all
            try:
                deliver_due(rooms, destination)
            except LedgerError as exc:  # the leases run out, and the relay rings again
                log.warning("delivery_interrupted", destination=name, exc_info=exc)
            finally:
                lanes[name].release()

        work(
            redis_url,
            DELIVER,
            deliver,
            ready=ready,
            stopping=stopping,
            pool="threads",
            concurrency=len(lanes) + _SPARE_THREADS,
        )


def deliver_due(rooms: Rooms, destination: Destination) -> None:
    """Send everything that is due to one destination, a lease at a time."""
    while not rooms.stopping.is_set():
        deliveries = rooms.ledger.deliveries.lease(
            destination.name,
            rooms.holder,
            rooms.settings.deliver.batch_size,
            lease_seconds=rooms.settings.deliver.lease_seconds,
        )
        if not deliveries or not _deliver(rooms, destination, deliveries):
            return


def _deliver(rooms: Rooms, destination: Destination, deliveries: Sequence[Delivery]) -> bool:
    """Send one lease's deliveries over one association; False when there is no going on."""
    waiting = list(deliveries)
    classes = sorted({each.sop_class_uid for each in deliveries})
    try:
        with open_way(destination, rooms.settings.dicom.ae_title, classes) as way:
            while waiting and not rooms.stopping.is_set() and way.is_open:
                _deliver_one(rooms, way, waiting[0])
                waiting.pop(0)
    except UnreachableError as exc:
        _leave_alone(rooms, destination, str(exc))
        _give_back(rooms, waiting, str(exc))
        return False
    _give_back(rooms, waiting, "interrupted")
    return not waiting


def _deliver_one(rooms: Rooms, way: Way, delivery: Delivery) -> None:
    path = rooms.spool.outbox(delivery.job_id, delivery.kind)
    began = time.monotonic()
    try:
        answer = way.send(path)
    except (FileNotFoundError, DamagedError):
        _park(rooms, delivery, Reason.BYTES_MISSING)
    except AwayError:
        raise
    except UnreachableError as exc:
        # the association was there: it may be this object that the destination dies of, so it
        # waits by itself and the others go on
        DELIVERIES.labels(destination=delivery.destination, outcome="unreachable").inc()
        _put_off(rooms, delivery, str(exc))
    except Exception:  # one object's trouble must not become its destination's
        log.exception("output_failed", job_id=delivery.job_id, destination=delivery.destination)
        _put_off(rooms, delivery, "error")
    else:
        STAGE_SECONDS.labels(stage="deliver").observe(time.monotonic() - began)
        _keep_answer(rooms, delivery, answer)


def _keep_answer(rooms: Rooms, delivery: Delivery, answer: Answer) -> None:
    outcome = "warning" if answer.warned else "success" if answer.taken else "refused"
    DELIVERIES.labels(destination=delivery.destination, outcome=outcome).inc()
    DELIVERY_STATUS.labels(
        destination=delivery.destination, status=status_label(answer.status)
    ).inc()
    log.info(
        "output_sent",
        job_id=delivery.job_id,
        kind=delivery.kind,
        destination=delivery.destination,
        outcome=outcome,
        status=f"0x{answer.status:04X}",
    )
    if answer.taken:
        if _kept(rooms.ledger.deliveries.delivered, delivery, status=answer.status):
            _observe_end(rooms, delivery)
        return
    limits = rooms.settings.deliver
    counts = not answer.transient
    refused_for_good = counts and delivery.refusals + 1 >= limits.maximum_refusals
    if refused_for_good or _is_too_old(rooms, delivery):
        _park(rooms, delivery, Reason.DESTINATION_REFUSED, status=answer.status)
        return
    pause = _pause(rooms, delivery.refusals + 1 if counts else delivery.attempt)
    refused = partial(rooms.ledger.deliveries.refused, again_in=pause, counts=counts)
    _kept(refused, delivery, status=answer.status)


def _leave_alone(rooms: Rooms, destination: Destination, why: str) -> None:
    """Open a silent destination's breaker, for longer each time."""
    DELIVERIES.labels(destination=destination.name, outcome="unreachable").inc()
    pause = rooms.ledger.deliveries.open_breaker(
        destination.name, lambda failures: _pause(rooms, failures)
    )
    log.warning(
        "destination_unreachable", destination=destination.name, reason=why, seconds=round(pause, 1)
    )


def _put_off(rooms: Rooms, delivery: Delivery, why: str) -> None:
    """Give one delivery back, due again later each time."""
    _give_back(rooms, [delivery], why, again_in=_pause(rooms, delivery.attempt))


def _give_back(
    rooms: Rooms, deliveries: Sequence[Delivery], why: str, *, again_in: float = 0
) -> None:
    for delivery in deliveries:
        if _is_too_old(rooms, delivery):
            _park(rooms, delivery, Reason.DESTINATION_UNREACHABLE)
        else:
            _kept(rooms.ledger.deliveries.unreached, delivery, again_in=again_in, why=why)


def _park(rooms: Rooms, delivery: Delivery, reason: Reason, *, status: int | None = None) -> None:
    if _kept(rooms.ledger.deliveries.park, delivery, reason, status=status):
        PARKED.labels(reason=reason).inc()
        log.error(
            "delivery_parked",
            job_id=delivery.job_id,
            destination=delivery.destination,
            reason=reason,
        )


def _observe_end(rooms: Rooms, delivery: Delivery) -> None:
    job = rooms.ledger.view.job(delivery.job_id)
    if job is not None and job.state is JobState.DELIVERED and job.finished_at is not None:
        END_TO_END_SECONDS.labels(until="delivered").observe(job.finished_at - job.received_at)
        log.info("job_delivered", job_id=job.id)


def _is_too_old(rooms: Rooms, delivery: Delivery) -> bool:
    return time.time() - delivery.since > rooms.settings.deliver.give_up_days * DAY_SECONDS


def _pause(rooms: Rooms, tries: int) -> float:
    limits = rooms.settings.deliver
    return backoff_seconds(
        tries, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
    )


def _kept(write: Callable[..., None], *values: object, **named: object) -> bool:
    """Write to the ledger; False when the lease was another's by then and nothing was changed."""
    try:
        write(*values, **named)
    except StaleLeaseError:
        STALE_LEASES.inc()
        return False
    return True
