"""Storage commitment as SCU: request it of a destination, and wait a little for the result."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final, TypeGuard

import structlog

from service.commitment.results import receive_result
from service.crash_points import CrashPoint, passed
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
from workers.delivery.context import DeliveryContext, write_if_current
from workers.delivery.dimse import NOTHING_ACCEPTED
from workers.delivery.storage_commitment.associations import (
    RequestAssociation,
    open_request_association,
)
from workers.delivery.stored_output import NoResponseError

RESULT_SECONDS: Final = 2.0  # how long the association of a request is kept for its result
AT_ONCE: Final = 500  # outputs in one request
_POLL_SECONDS: Final = 0.1

log = structlog.get_logger()


def uses_commitment(destination: Destination | None) -> TypeGuard[DimseDestination]:
    """Return whether storage commitment is requested of a destination."""
    return isinstance(destination, DimseDestination) and destination.storage_commitment


class CommitmentRequester:
    """Requests storage commitment for the outputs that a destination has stored."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._ledger = context.ledger

    def request_due(self, destination: Destination) -> None:
        """Request the commitment that is due at a destination, one request at a time."""
        context = self._context
        while not context.stopping.is_set():
            context.progress.touch(destination.name)
            transaction_uid = new_transaction_uid()
            deliveries = self._ledger.commitments.lease(
                destination.name,
                context.holder,
                AT_ONCE,
                transaction_uid=transaction_uid,
                lease_seconds=context.settings.deliver.lease_seconds,
            )
            if not deliveries:
                return
            passed(CrashPoint.COMMITMENT_LEASED)
            if not uses_commitment(destination):
                self._do_without(deliveries)
                continue
            young = [each for each in deliveries if not self._give_up(each)]
            if young and not self._request(destination, transaction_uid, young):
                return

    def _do_without(self, deliveries: Sequence[Delivery]) -> None:
        """Count as delivered what was stored before commitment was switched off."""
        for delivery in deliveries:
            with write_if_current() as written:
                self._ledger.deliveries.delivered(delivery, status=None)
            if written.done:
                record_completion(self._ledger, delivery.job_id)

    def _give_up(self, delivery: Delivery) -> bool:
        """Park a delivery if its commitment has been requested for too long; return whether."""
        if not self._context.is_too_old(delivery.since):
            return False
        self._context.park(delivery, Reason.NOT_COMMITTED)
        return True

    def _request(
        self,
        destination: DimseDestination,
        transaction_uid: str,
        deliveries: Sequence[Delivery],
    ) -> bool:
        """Send one request and wait for its result; return False if no more is to be requested."""
        sent = tuple(each.sent for each in deliveries if each.sent is not None)
        request = Request(transaction_uid=transaction_uid, instances=sent)
        settings = self._context.settings
        receive = partial(receive_result, self._ledger, settings.deliver)
        try:
            with open_request_association(
                destination, settings.dicom.ae_title, receive
            ) as association:
                return self._send(destination, association, request, deliveries)
        except NoResponseError as exc:
            why = str(exc)
            COMMITMENTS_ASKED.labels(destination=destination.name, outcome="unreachable").inc()
            if why != NOTHING_ACCEPTED:
                self._context.open_breaker(destination, why)
            self._postpone(deliveries, why)
            return False
        except LedgerError:
            raise
        except Exception:  # a failed request must not hold up what is still to be sent
            log.exception("commitment_request_failed", destination=destination.name)
            self._postpone(deliveries, "error")
            return False

    def _send(
        self,
        destination: DimseDestination,
        association: RequestAssociation,
        request: Request,
        deliveries: Sequence[Delivery],
    ) -> bool:
        try:
            status = association.send(request)
        except NoResponseError as exc:  # it accepted the association: its breaker stays closed
            COMMITMENTS_ASKED.labels(destination=destination.name, outcome="unreachable").inc()
            self._postpone(deliveries, str(exc))
            return False
        accepted = status == SUCCESS
        outcome = "accepted" if accepted else "refused"
        COMMITMENTS_ASKED.labels(destination=destination.name, outcome=outcome).inc()
        log.log(
            logging.INFO if accepted else logging.WARNING,
            "commitment_asked",
            destination=destination.name,
            deliveries=len(deliveries),
            outcome=outcome,
            status=f"0x{status:04X}",
        )
        if not accepted:
            self._postpone(deliveries, "refused")
            return False
        passed(CrashPoint.COMMITMENT_ACCEPTED)
        self._ledger.commitments.asked(deliveries, again_in=destination.commitment_seconds)
        self._await_result(association, request.transaction_uid)
        return True

    def _postpone(self, deliveries: Sequence[Delivery], why: str) -> None:
        """Make a request due again later each time."""
        again_in = self._context.pause_seconds(deliveries[0].attempt)
        self._ledger.commitments.postpone(deliveries, again_in=again_in, why=why)

    def _await_result(self, association: RequestAssociation, transaction_uid: str) -> None:
        """Keep the association for a while, until the result came on it or by another."""
        until = time.monotonic() + RESULT_SECONDS
        while association.is_open and time.monotonic() < until:
            if not self._ledger.commitments.is_awaited(transaction_uid):
                return
            if self._context.stopping.wait(_POLL_SECONDS):
                return
