"""Record in metrics, log and ledger what came of each output."""

from collections.abc import Sequence

import structlog

from service.crash_points import CrashPoint, passed
from service.domain.delivery import Delivery
from service.domain.reasons import Reason
from service.storage.ledger import Acknowledged
from service.telemetry.completion import record_completion
from service.telemetry.metrics import (
    DELIVERIES,
    DELIVERY_STATUS,
    STAGE_SECONDS,
    STALE_LEASES,
    status_label,
)
from workers.delivery.context import DeliveryContext, write_if_current
from workers.delivery.pool.associations import Answer
from workers.delivery.storage_commitment.request import uses_commitment
from workers.delivery.stored_output import (
    CorruptOutputError,
    NoResponseError,
    StoreResponse,
)

log = structlog.get_logger()


class Recorder:
    """Decides what follows from each answer, and records it."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._deliveries = context.ledger.deliveries

    def record(self, answers: Sequence[Answer]) -> None:
        """Record what came of outputs: what destinations have in one transaction, then the rest."""
        delivered: list[Acknowledged] = []
        others: list[Answer] = []
        for answer in answers:
            response = answer.response
            if response is not None:
                STAGE_SECONDS.labels(stage="deliver").observe(answer.seconds)
                self._count(answer.delivery, response)
            if response is not None and self._is_delivered(answer.delivery, response):
                delivered.append(
                    Acknowledged(
                        delivery=answer.delivery, status=response.status, sent=response.sent
                    )
                )
            else:
                others.append(answer)
        self._record_delivered(delivered)
        for answer in others:
            self._record(answer)
        if any(answer.response is not None for answer in answers):
            passed(CrashPoint.DELIVER_RECORDED)

    def _is_delivered(self, delivery: Delivery, response: StoreResponse) -> bool:
        """Return whether the destination has the output, and is not asked to commit itself."""
        destination = self._context.settings.destination(delivery.destination)
        return response.taken and not uses_commitment(destination)

    def _record_delivered(self, answers: Sequence[Acknowledged]) -> None:
        if not answers:
            return
        current = self._deliveries.delivered_together(answers)
        STALE_LEASES.inc(len(answers) - len(current))
        for job_id in dict.fromkeys(each.job_id for each in current):
            record_completion(self._context.ledger, job_id)

    def _record(self, answer: Answer) -> None:
        delivery, error = answer.delivery, answer.error
        if answer.response is not None:
            self._record_response(delivery, answer.response)
        elif isinstance(error, FileNotFoundError | CorruptOutputError):
            self._context.park(delivery, Reason.BYTES_MISSING)
        elif isinstance(error, NoResponseError):
            # the association was open: this output may be what the destination fails on, so it
            # waits by itself and the others go on
            DELIVERIES.labels(destination=delivery.destination, outcome="unreachable").inc()
            self._postpone(delivery, str(error))
        else:
            log.error(
                "output_failed",
                job_id=delivery.job_id,
                destination=delivery.destination,
                exc_info=error,
            )
            self._postpone(delivery, "error")

    def release(self, deliveries: Sequence[Delivery], why: str, *, again_in: float = 0) -> None:
        """End the lease of deliveries that got no response, and park those that are too old."""
        for delivery in deliveries:
            if self._context.is_too_old(delivery.since):
                self._context.park(delivery, Reason.DESTINATION_UNREACHABLE)
            else:
                with write_if_current():
                    self._deliveries.unreached(delivery, again_in=again_in, why=why)

    def _count(self, delivery: Delivery, response: StoreResponse) -> None:
        """Record a response in metrics and log."""
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

    def _record_response(self, delivery: Delivery, response: StoreResponse) -> None:
        """Record that the destination stored the output until it commits itself, or refused it."""
        if response.taken:
            with write_if_current():
                self._deliveries.stored(delivery, status=response.status, sent=response.sent)
        else:
            self._record_refusal(delivery, response)

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
        self.release([delivery], why, again_in=self._context.pause_seconds(delivery.attempt))
