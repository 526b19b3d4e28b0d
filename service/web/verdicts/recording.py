"""Record a verdict that a request holds: the same rules for the page and the API."""

from http import HTTPStatus

from fastapi import Request

from service.dicom.uids import is_uid
from service.domain.audit import Action
from service.domain.job import Job
from service.domain.user import Identity
from service.domain.verdict import Opinion, Verdict, VerdictError
from service.storage.ledger import Ledger, ReplacedReportError
from service.telemetry.metrics import VERDICTS
from service.web.problem import Problem, not_found
from service.web.trail import Trail


class VerdictRecorder:
    """Records verdicts in the ledger and the audit trail, and counts them."""

    def __init__(self, ledger: Ledger, trail: Trail) -> None:
        self._ledger = ledger
        self._trail = trail

    def record(
        self,
        request: Request,
        job: Job,
        *,
        report_uid: str,
        opinion: Opinion,
        right_finding: str | None = None,
        comment: str = "",
    ) -> Verdict:
        """Record what the sender of a request thinks of the report of a job.

        Raises:
            Problem: the report is not the current one of the job, or the verdict contradicts
                itself.
        """
        identity: Identity = request.state.identity
        if not is_uid(report_uid):
            raise not_found("report of this job")
        try:
            verdict = self._ledger.verdicts.record(
                job.id,
                report_uid=report_uid,
                user=identity.name,
                opinion=opinion,
                right_finding=right_finding,
                comment=comment,
            )
        except LookupError:
            raise not_found("report of this job") from None
        except ReplacedReportError:
            raise Problem(
                HTTPStatus.CONFLICT,
                "The report was replaced by another since the page was opened. Nothing was "
                "recorded: read the new report, and judge that one.",
            ) from None
        except VerdictError as exc:
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(exc)) from None
        VERDICTS.labels(verdict.opinion, verdict.finding).inc()
        self._trail.record(
            request,
            Action.VERDICT,
            job=job,
            opinion=str(opinion),
            right_finding=right_finding,
            report=report_uid,
        )
        return verdict
