"""Delivery to one destination: lease, send, record the response, request storage commitment."""

import time
from collections.abc import Sequence
from typing import Final

import structlog

from service.crash_points import CrashPoint, passed
from service.domain.delivery import Delivery
from service.domain.reasons import Reason
from service.settings import Destination
from service.telemetry.completion import record_completion
from service.telemetry.metrics import DELIVERIES, DELIVERY_STATUS, STAGE_SECONDS, status_label
from workers.delivery.context import DeliveryContext, write_if_current
from workers.delivery.lease import BatchLease
from workers.delivery.storage_commitment.request import CommitmentRequester, uses_commitment
from workers.delivery.stored_output import (
    CorruptOutputError,
    DestinationUnavailableError,
    NoResponseError,
    StoreResponse,
)
from workers.delivery.transport import Transport, open_transport

_LEASES_IN_A_ROW: Final = 16  # before commitment is requested, however much comes in meanwhile

log = structlog.get_logger()


class DeliveryWorker:
    """Sends outputs to destinations, one lease over one association at a time."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._deliveries = context.ledger.deliveries
        self._commitments = CommitmentRequester(context)

    def deliver_due(self, destination: Destination) -> None:
        """Send all outputs due to a destination, and request the commitment that is due."""
        is_more_due = True
        while is_more_due:
            is_more_due = self._send_due(destination)
            self._commitments.request_due(destination)

    def _send_due(self, destination: Destination) -> bool:
        """Send what is due, a lease at a time; return True if commitment must not wait longer."""
        context = self._context
        for _ in range(_LEASES_IN_A_ROW):
            if context.stopping.is_set():
                return False
            context.progress.touch(destination.name)
            deliveries = self._deliveries.lease(
                destination.name,
                context.holder,
                context.settings.deliver.batch_size,
                lease_seconds=context.settings.deliver.lease_seconds,
            )
            if not deliveries or not self._send_batch(destination, deliveries):
                return False
        return True

    def _send_batch(self, destination: Destination, deliveries: Sequence[Delivery]) -> bool:
        """Send one lease's deliveries over one association; return whether all were tried."""
        passed(CrashPoint.DELIVER_LEASED)
        lease = BatchLease(self._context, destination, deliveries)
        classes = sorted({each.sop_class_uid for each in deliveries})
        ae_title = self._context.settings.dicom.ae_title
        try:
            with open_transport(destination, ae_title, classes, lease.touch) as transport:
                while lease.waiting and not self._context.stopping.is_set() and transport.is_open:
                    self._send(transport, lease.waiting[0])
                    lease.touch()
                    lease.waiting.pop(0)
        except NoResponseError as exc:
            DELIVERIES.labels(destination=destination.name, outcome="unreachable").inc()
            self._context.open_breaker(destination, str(exc))
            self._release(lease.waiting, str(exc))
            return False
        self._release(lease.waiting, "interrupted")
        return not lease.waiting

    def _send(self, transport: Transport, delivery: Delivery) -> None:
        """Send one output and record the response.

        Raises:
            DestinationUnavailableError: the destination is out of reach, whatever the output.
        """
        context = self._context
        path = context.spool.outbox(delivery.job_id, delivery.kind, delivery.sop_instance_uid)
        began = time.monotonic()
        try:
            response = transport.send(path)
        except (FileNotFoundError, CorruptOutputError):
            context.park(delivery, Reason.BYTES_MISSING)
        except DestinationUnavailableError:
            raise
        except NoResponseError as exc:
            # the association was open: this output may be what the destination fails on, so it
            # waits by itself and the others go on
            DELIVERIES.labels(destination=delivery.destination, outcome="unreachable").inc()
            self._postpone(delivery, str(exc))
        except Exception:  # one output must not stop its destination's others
            log.exception("output_failed", job_id=delivery.job_id, destination=delivery.destination)
            self._postpone(delivery, "error")
        else:
            passed(CrashPoint.DELIVER_ANSWERED)
            STAGE_SECONDS.labels(stage="deliver").observe(time.monotonic() - began)
            self._record(delivery, response)
            passed(CrashPoint.DELIVER_RECORDED)

    def _record(self, delivery: Delivery, response: StoreResponse) -> None:
        """Record a response in metrics, log and ledger."""
        outcome = "warning" if response.warned else "success" if response.taken else "refused"
        DELIVERIES.labels(destination=delivery.destination, outcome=outcome).inc()
        DELIVERY_STATUS.labels(
            destination=delivery.destination, status=status_label(response.status)
        ).inc()
        log.info(
            "output_sent",
            job_id=delivery.job_id,
            kind=delivery.kind,
            destination=delivery.destination,
            outcome=outcome,
            status=f"0x{response.status:04X}",
        )
        if response.taken:
            self._record_taken(delivery, response)
        else:
            self._record_refusal(delivery, response)

    def _record_taken(self, delivery: Delivery, response: StoreResponse) -> None:
        """Record that the destination has the output: delivered, or stored until it commits."""
        status, sent = response.status, response.sent
        if uses_commitment(self._context.settings.destination(delivery.destination)):
            with write_if_current():
                self._deliveries.stored(delivery, status=status, sent=sent)
            return
        with write_if_current() as written:
            self._deliveries.delivered(delivery, status=status, sent=sent)
        if written.done:
            record_completion(self._context.ledger, delivery.job_id)

    def _record_refusal(self, delivery: Delivery, response: StoreResponse) -> None:
        """Make a refused delivery due again later, or park it after too many refusals or days."""
        context = self._context
        counts = not response.transient
        maximum = context.settings.deliver.maximum_refusals
        is_final = counts and delivery.refusals + 1 >= maximum
        if is_final or context.is_too_old(delivery.since):
            context.park(delivery, Reason.DESTINATION_REFUSED, status=response.status)
            return
        again_in = context.pause_seconds(delivery.refusals + 1 if counts else delivery.attempt)
        with write_if_current():
            self._deliveries.refused(
                delivery, status=response.status, again_in=again_in, counts=counts
            )

    def _postpone(self, delivery: Delivery, why: str) -> None:
        """Release one delivery, due again later each time."""
        self._release([delivery], why, again_in=self._context.pause_seconds(delivery.attempt))

    def _release(self, deliveries: Sequence[Delivery], why: str, *, again_in: float = 0) -> None:
        """End the lease of deliveries that got no response, and park those that are too old."""
        for delivery in deliveries:
            if self._context.is_too_old(delivery.since):
                self._context.park(delivery, Reason.DESTINATION_UNREACHABLE)
            else:
                with write_if_current():
                    self._deliveries.unreached(delivery, again_in=again_in, why=why)
