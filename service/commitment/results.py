"""Record the commitment results that destinations report (N-EVENT-REPORT, PS3.4 annex J).

A result arrives at the listener, or at the deliver worker on the association of its request.
"""

import logging

import structlog

from service.crash_points import CrashPoint, passed
from service.dicom.statuses import (
    PROCESSING_FAILURE,
    SUCCESS,
)
from service.dicom.storage_commitment import (
    InvalidError,
    Message,
    Result,
    read_result,
)
from service.domain.backoff import backoff_seconds
from service.domain.delivery import Delivery, DeliveryState
from service.domain.reasons import Reason
from service.settings import DeliverSettings
from service.storage.ledger import Ledger, LedgerError
from service.telemetry.completion import record_completion
from service.telemetry.metrics import COMMITMENTS, PARKED

log = structlog.get_logger()


def receive_result(ledger: Ledger, limits: DeliverSettings, message: Message) -> int:
    """Record a result, and return the status of the N-EVENT-REPORT response.

    A result for a transaction that is not, or no longer, awaited changes nothing. Its status is
    Success as well: its sender could not do anything about a failure.
    """
    try:
        result = read_result(message)
        passed(CrashPoint.COMMITMENT_RECEIVED)
        changed = _record(ledger, limits, result)
        passed(CrashPoint.COMMITMENT_RECORDED)
    except InvalidError as exc:
        log.warning("commitment_result_refused", status=f"0x{exc.status:04X}")
        return exc.status
    except LedgerError as exc:
        log.warning("commitment_result_not_kept", exc_info=exc)
        return PROCESSING_FAILURE
    if not changed:
        log.info("commitment_result_not_awaited", instances=len(result.committed))
    return SUCCESS


def _record(ledger: Ledger, limits: DeliverSettings, result: Result) -> list[Delivery]:
    changed = ledger.commitments.answered(
        result.transaction_uid,
        result.committed,
        result.failed,
        again_in=lambda tries: backoff_seconds(
            tries, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
        ),
        maximum_refusals=limits.maximum_refusals,
    )
    for delivery in changed:
        _log_result(delivery, result)
        record_completion(ledger, delivery.job_id)
    return changed


def _log_result(delivery: Delivery, result: Result) -> None:
    failure = result.failed.get(delivery.sent) if delivery.sent is not None else None
    outcome = "committed" if delivery.state is DeliveryState.DELIVERED else "failed"
    COMMITMENTS.labels(destination=delivery.destination, outcome=outcome).inc()
    if delivery.state is DeliveryState.PARKED:
        PARKED.labels(reason=Reason.NOT_COMMITTED).inc()
    log.log(
        logging.INFO if failure is None else logging.WARNING,
        "output_committed" if failure is None else "output_not_committed",
        job_id=delivery.job_id,
        kind=delivery.kind,
        destination=delivery.destination,
        state=str(delivery.state),
        status=None if failure is None else f"0x{failure:04X}",
    )
