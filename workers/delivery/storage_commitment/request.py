"""Asks a destination to commit itself to what it took, and waits a little for the result."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeGuard

import structlog

from service.commitment.results import receive_result
from service.dicom.statuses import (
    SUCCESS,
)
from service.dicom.storage_commitment import (
    Request,
    new_transaction_uid,
)
from service.domain.delivery import Delivery
from service.domain.reasons import Reason
from service.settings import Destination, DimseDestination
from service.storage.ledger import LedgerError
from service.telemetry.completion import record_completion
from service.telemetry.metrics import COMMITMENTS_ASKED
from workers.delivery.context import Rooms, is_too_old, kept, leave_alone, park, pause
from workers.delivery.dimse import NOTHING_ACCEPTED
from workers.delivery.storage_commitment.associations import Asker, asking
from workers.delivery.stored_output import NoResponseError

HEARS_SECONDS: Final = 2.0  # how long the association of a request is kept for its result
AT_ONCE: Final = 500  # outputs in one request
_LOOKS_SECONDS: Final = 0.1

log = structlog.get_logger()


def commits_itself(destination: Destination | None) -> TypeGuard[DimseDestination]:
    """Tell whether a destination is asked to commit itself to what it took."""
    return isinstance(destination, DimseDestination) and destination.storage_commitment


def commit_due(rooms: Rooms, destination: Destination) -> None:
    """Ask for the commitment that is due, a request at a time."""
    while not rooms.stopping.is_set():
        transaction_uid = new_transaction_uid()
        deliveries = rooms.ledger.commitments.lease(
            destination.name,
            rooms.holder,
            AT_ONCE,
            transaction_uid=transaction_uid,
            lease_seconds=rooms.settings.deliver.lease_seconds,
        )
        if not deliveries:
            return
        if not commits_itself(destination):
            _do_without(rooms, deliveries)
            continue
        young = [each for each in deliveries if not _given_up(rooms, each)]
        if young and not _ask(rooms, destination, transaction_uid, young):
            return


def _do_without(rooms: Rooms, deliveries: Sequence[Delivery]) -> None:
    """Be content with the answer to C-STORE: nobody asks this destination any more."""
    for delivery in deliveries:
        if kept(rooms.ledger.deliveries.delivered, delivery, status=None):
            record_completion(rooms.ledger, delivery.job_id)


def _given_up(rooms: Rooms, delivery: Delivery) -> bool:
    if not is_too_old(rooms, delivery.since):
        return False
    park(rooms, delivery, Reason.NOT_COMMITTED)
    return True


def _ask(
    rooms: Rooms,
    destination: DimseDestination,
    transaction_uid: str,
    deliveries: Sequence[Delivery],
) -> bool:
    """Send one request and wait a little for its result; False when there is no going on."""
    sent = tuple(each.sent for each in deliveries if each.sent is not None)
    request = Request(transaction_uid=transaction_uid, instances=sent)
    hear = partial(receive_result, rooms.ledger, rooms.settings.deliver)
    try:
        with asking(destination, rooms.settings.dicom.ae_title, hear) as asker:
            return _ask_on(rooms, destination, asker, request, deliveries)
    except NoResponseError as exc:
        why = str(exc)
        COMMITMENTS_ASKED.labels(destination=destination.name, outcome="unreachable").inc()
        if why != NOTHING_ACCEPTED:
            leave_alone(rooms, destination, why)
        _put_off(rooms, deliveries, why, again_in=pause(rooms, deliveries[0].attempt))
        return False
    except LedgerError:
        raise
    except Exception:  # a request's trouble must not hold up what is still to be sent
        log.exception("commitment_request_failed", destination=destination.name)
        _put_off(rooms, deliveries, "error", again_in=pause(rooms, deliveries[0].attempt))
        return False


def _ask_on(
    rooms: Rooms,
    destination: DimseDestination,
    asker: Asker,
    request: Request,
    deliveries: Sequence[Delivery],
) -> bool:
    try:
        status = asker.ask(request)
    except NoResponseError as exc:  # it took the association: it is no reason to send it nothing
        COMMITMENTS_ASKED.labels(destination=destination.name, outcome="unreachable").inc()
        _put_off(rooms, deliveries, str(exc), again_in=pause(rooms, deliveries[0].attempt))
        return False
    outcome = "accepted" if status == SUCCESS else "refused"
    COMMITMENTS_ASKED.labels(destination=destination.name, outcome=outcome).inc()
    tell = log.info if status == SUCCESS else log.warning
    tell(
        "commitment_asked",
        destination=destination.name,
        deliveries=len(deliveries),
        outcome=outcome,
        status=f"0x{status:04X}",
    )
    if status != SUCCESS:
        _put_off(rooms, deliveries, "refused", again_in=pause(rooms, deliveries[0].attempt))
        return False
    rooms.ledger.commitments.asked(deliveries, again_in=destination.commitment_seconds)
    _hear_out(rooms, asker, request.transaction_uid)
    return True


def _put_off(rooms: Rooms, deliveries: Sequence[Delivery], why: str, *, again_in: float) -> None:
    rooms.ledger.commitments.put_off(deliveries, again_in=again_in, why=why)


def _hear_out(rooms: Rooms, asker: Asker, transaction_uid: str) -> None:
    """Keep the association while the result may come on it, or until it came by another."""
    until = time.monotonic() + HEARS_SECONDS
    while asker.is_open and time.monotonic() < until:
        if not rooms.ledger.commitments.is_awaited(transaction_uid):
            return
        if rooms.stopping.wait(_LOOKS_SECONDS):
            return
