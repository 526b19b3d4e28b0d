"""Leases what is owed to one destination, sends it, and keeps what the destination answered."""

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from service.domain.delivery import Delivery
from service.domain.queues import COMMITMENTS, DELIVER
from service.domain.reasons import Reason
from service.settings import Destination, Settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.spool import Spool
from service.telemetry.completion import record_completion
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.metrics import DELIVERIES, DELIVERY_STATUS, STAGE_SECONDS, status_label
from workers.delivery.context import Rooms, is_too_old, kept, leave_alone, park, pause
from workers.delivery.storage_commitment.request import commit_due, commits_itself
from workers.delivery.storage_commitment.respond import answer_due
from workers.delivery.stored_output import (
    CorruptOutputError,
    DestinationUnavailableError,
    NoResponseError,
    StoreResponse,
)
from workers.delivery.transport import Transport, open_transport
from workers.tasks.celery_worker import work

_LEASES_IN_A_ROW: Final = 16  # before commitment is asked for, however much comes in meanwhile
_SPARE_THREADS: Final = 1  # a ring too many must not wait behind a slow destination

log = structlog.get_logger()


def run(settings: Settings, ledger: Ledger, spool: Spool, redis_url: str) -> None:
    """Answer the queue's rings until SIGTERM; one lane, and so one association, a destination."""
    stopping, ready = threading.Event(), threading.Event()
    lanes = {name: threading.Lock() for name in _lanes(settings)}
    with HeartbeatSender(ledger, "deliver", ready=ready.is_set) as heart:
        rooms = Rooms(
            settings=settings,
            ledger=ledger,
            spool=spool,
            holder=heart.holder,
            stopping=stopping,
        )

        def deliver(name: str) -> None:
            if name not in lanes or not lanes[name].acquire(blocking=False):
                return  # removed since the ring, or being served: whoever serves it sees all
            try:
                _serve(rooms, name)
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


def _lanes(settings: Settings) -> list[str]:
    return [*(each.name for each in settings.destinations), COMMITMENTS]


def _serve(rooms: Rooms, lane: str) -> None:
    destination = rooms.settings.destination(lane)
    if destination is None:
        answer_due(rooms)
        return
    deliver_due(rooms, destination)


def deliver_due(rooms: Rooms, destination: Destination) -> None:
    """Send everything that is due to one destination, and ask for the commitment that is due."""
    is_more_due = True
    while is_more_due:
        is_more_due = _send_due(rooms, destination)
        commit_due(rooms, destination)


def _send_due(rooms: Rooms, destination: Destination) -> bool:
    """Send what is due, a lease at a time; True if there may be more and commitment has waited."""
    for _ in range(_LEASES_IN_A_ROW):
        if rooms.stopping.is_set():
            return False
        deliveries = rooms.ledger.deliveries.lease(
            destination.name,
            rooms.holder,
            rooms.settings.deliver.batch_size,
            lease_seconds=rooms.settings.deliver.lease_seconds,
        )
        if not deliveries or not _deliver(rooms, destination, deliveries):
            return False
    return True


def _deliver(rooms: Rooms, destination: Destination, deliveries: Sequence[Delivery]) -> bool:
    """Send one lease's deliveries over one association; False when there is no going on."""
    waiting = list(deliveries)
    classes = sorted({each.sop_class_uid for each in deliveries})
    try:
        with open_transport(destination, rooms.settings.dicom.ae_title, classes) as way:
            while waiting and not rooms.stopping.is_set() and way.is_open:
                _deliver_one(rooms, way, waiting[0])
                waiting.pop(0)
    except NoResponseError as exc:
        DELIVERIES.labels(destination=destination.name, outcome="unreachable").inc()
        leave_alone(rooms, destination, str(exc))
        _give_back(rooms, waiting, str(exc))
        return False
    _give_back(rooms, waiting, "interrupted")
    return not waiting


def _deliver_one(rooms: Rooms, way: Transport, delivery: Delivery) -> None:
    path = rooms.spool.outbox(delivery.job_id, delivery.kind, delivery.sop_instance_uid)
    began = time.monotonic()
    try:
        answer = way.send(path)
    except (FileNotFoundError, CorruptOutputError):
        park(rooms, delivery, Reason.BYTES_MISSING)
    except DestinationUnavailableError:
        raise
    except NoResponseError as exc:
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


def _keep_answer(rooms: Rooms, delivery: Delivery, answer: StoreResponse) -> None:
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
        _keep_taken(rooms, delivery, answer)
        return
    limits = rooms.settings.deliver
    counts = not answer.transient
    refused_for_good = counts and delivery.refusals + 1 >= limits.maximum_refusals
    if refused_for_good or is_too_old(rooms, delivery.since):
        park(rooms, delivery, Reason.DESTINATION_REFUSED, status=answer.status)
        return
    again_in = pause(rooms, delivery.refusals + 1 if counts else delivery.attempt)
    refused = partial(rooms.ledger.deliveries.refused, again_in=again_in, counts=counts)
    kept(refused, delivery, status=answer.status)


def _keep_taken(rooms: Rooms, delivery: Delivery, answer: StoreResponse) -> None:
    """Keep that the destination has the object; where it is to commit itself, that is awaited."""
    deliveries = rooms.ledger.deliveries
    if commits_itself(rooms.settings.destination(delivery.destination)):
        kept(deliveries.stored, delivery, status=answer.status, sent=answer.sent)
    elif kept(deliveries.delivered, delivery, status=answer.status, sent=answer.sent):
        record_completion(rooms.ledger, delivery.job_id)


def _put_off(rooms: Rooms, delivery: Delivery, why: str) -> None:
    """Give one delivery back, due again later each time."""
    _give_back(rooms, [delivery], why, again_in=pause(rooms, delivery.attempt))


def _give_back(
    rooms: Rooms, deliveries: Sequence[Delivery], why: str, *, again_in: float = 0
) -> None:
    for delivery in deliveries:
        if is_too_old(rooms, delivery.since):
            park(rooms, delivery, Reason.DESTINATION_UNREACHABLE)
        else:
            kept(rooms.ledger.deliveries.unreached, delivery, again_in=again_in, why=why)
