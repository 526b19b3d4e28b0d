"""Storage commitment as SCP: report results over an association that we open (PS3.4 J.3.3)."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import structlog

from service.commitment.evaluation import evaluate
from service.crash_points import CrashPoint, passed
from service.dicom.statuses import (
    SUCCESS,
)
from service.domain.queues import COMMITMENTS
from service.storage.ledger import LedgerError
from service.storage.ledger.work.commitment_requests import OpenRequest
from service.telemetry.metrics import COMMITMENT_RESULTS, COMMITTED_INSTANCES
from workers.delivery.context import DeliveryContext, write_if_current
from workers.delivery.storage_commitment.associations import (
    ReportAssociation,
    open_report_association,
)
from workers.delivery.stored_output import NoResponseError

AT_ONCE: Final = 32  # requests in one lease

log = structlog.get_logger()


class CommitmentResponder:
    """Reports the results of commitment requests to the senders that await them."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._requests = context.ledger.commitment_requests

    def respond_due(self) -> None:
        """Report all results that are due, over one association for each sender."""
        context = self._context
        while not context.stopping.is_set():
            context.progress.touch(COMMITMENTS)
            requests = self._requests.lease(
                context.holder, AT_ONCE, lease_seconds=context.settings.deliver.lease_seconds
            )
            if not requests:
                return
            by_sender = sorted(requests, key=lambda each: each.calling_ae_title)
            for ae_title, of_sender in groupby(by_sender, key=lambda each: each.calling_ae_title):
                self._respond(ae_title, list(of_sender))

    def _respond(self, ae_title: str, requests: Sequence[OpenRequest]) -> None:
        """Report all results that are due to one sender; those not reported are due again later."""
        settings = self._context.settings
        peer = settings.commitment_peer(ae_title)
        if peer is None:  # its address was removed from the settings meanwhile
            for request in requests:
                self._give_up(request, "unknown-address")
            return
        waiting = list(requests)
        self._context.progress.touch(COMMITMENTS)
        try:
            with open_report_association(peer, settings.dicom.ae_title) as association:
                while waiting and not self._context.stopping.is_set():
                    self._try_to_report(association, waiting[0])
                    self._context.progress.touch(COMMITMENTS)
                    waiting.pop(0)
        except NoResponseError as exc:
            log.warning(
                "commitment_result_undelivered",
                ae_title=ae_title,
                reason=str(exc),
                count=len(waiting),
            )
            for request in waiting:
                COMMITMENT_RESULTS.labels(outcome="unreachable").inc()
                self._postpone(request)
            return
        for request in waiting:
            with write_if_current():
                self._requests.postpone(request, again_in=0)

    def _try_to_report(self, association: ReportAssociation, request: OpenRequest) -> None:
        try:
            self._report(association, request)
        except (NoResponseError, LedgerError):
            raise
        except Exception:  # one request must not stop its sender's others
            log.exception("commitment_result_failed", ae_title=request.calling_ae_title)
            self._postpone(request, refused=True)

    def _report(self, association: ReportAssociation, request: OpenRequest) -> None:
        """Evaluate a request as of now, report the result, and close the request if accepted."""
        context = self._context
        evaluation = evaluate(
            context.ledger, context.spool, request.transaction_uid, request.instances
        )
        result = evaluation.result
        passed(CrashPoint.REQUEST_EVALUATED)
        status = association.send(result)
        if status != SUCCESS:
            COMMITMENT_RESULTS.labels(outcome="refused").inc()
            log.warning(
                "commitment_result_refused",
                ae_title=request.calling_ae_title,
                status=f"0x{status:04X}",
            )
            self._postpone(request, refused=True)
            return
        passed(CrashPoint.REQUEST_REPORTED)
        COMMITMENT_RESULTS.labels(outcome="told").inc()
        COMMITTED_INSTANCES.labels(outcome="committed").inc(len(result.committed))
        COMMITTED_INSTANCES.labels(outcome="failed").inc(len(result.failed))
        log.info(
            "commitment_result_told",
            ae_title=request.calling_ae_title,
            instances=len(request.instances),
        )
        with write_if_current():
            self._requests.close(request, evaluation.job_ids)
        passed(CrashPoint.REQUEST_CLOSED)

    def _postpone(self, request: OpenRequest, *, refused: bool = False) -> None:
        """Make a request due again later, or give it up after too many refusals or days."""
        context = self._context
        maximum = context.settings.deliver.maximum_refusals
        too_often = refused and request.refusals + 1 >= maximum
        if too_often or context.is_too_old(request.since):
            self._give_up(request, "refused" if refused else "unreachable")
            return
        again_in = context.pause_seconds(request.attempt)
        with write_if_current():
            self._requests.postpone(request, again_in=again_in, refused=refused)

    def _give_up(self, request: OpenRequest, why: str) -> None:
        """Close a request whose result its sender never took."""
        with write_if_current() as written:
            self._requests.give_up(request)
        if written.done:
            COMMITMENT_RESULTS.labels(outcome="given-up").inc()
            log.error("commitment_result_given_up", reason=why, instances=len(request.instances))
