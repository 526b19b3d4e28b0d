"""Radiologists' verdicts on the reports of a job."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Request

from service.domain.audit import Action
from service.domain.job import Job
from service.domain.user import Identity, Permission
from service.domain.verdict import Opinion, Verdict, VerdictError
from service.storage.ledger import Ledger, ReplacedReportError
from service.web.access import require
from service.web.api.body import body_of, documented
from service.web.api.documentation import JobId, described, example
from service.web.api.examples import REPORT_UID, VERDICT, VERDICTS
from service.web.lookup import known_job
from service.web.problem import Problem
from service.web.schemas.verdicts import VerdictListResponse, VerdictRequest, VerdictResponse
from service.web.trail import Trail

_EXAMPLE = {
    "report_uid": REPORT_UID,
    "opinion": "disagree",
    "right_finding": "absent",
    "comment": "Atelectasis.",
}


def router(ledger: Ledger, trail: Trail) -> APIRouter:
    """Build the routes of verdicts."""
    routes = APIRouter(tags=["verdicts"])

    @routes.get(
        "/jobs/{job_id}/verdicts",
        operation_id="listVerdicts",
        summary="List the verdicts on the reports of a job",
        # a comment may say something about the patient
        dependencies=[require(Permission.PATIENT)],
        responses=described(example("The verdicts.", VERDICTS)),
    )
    def _verdicts(request: Request, job_id: JobId) -> VerdictListResponse:
        job = known_job(ledger, job_id)
        trail.record(request, Action.VIEW, job=job, what="verdicts")
        given = ledger.verdicts.of_job(job.id)
        return VerdictListResponse(verdicts=list(map(VerdictResponse.of, given)))

    @routes.post(
        "/jobs/{job_id}/verdicts",
        operation_id="addVerdict",
        summary="Agree or disagree with the current report of a job",
        status_code=HTTPStatus.CREATED,
        responses=described(example("The verdict.", VERDICT, HTTPStatus.CREATED)),
        openapi_extra=documented(VerdictRequest, _EXAMPLE),
    )
    def _add(
        request: Request,
        job_id: JobId,
        identity: Annotated[Identity, require(Permission.VERDICT)],
        given: Annotated[VerdictRequest, body_of(VerdictRequest)],
    ) -> VerdictResponse:
        job = known_job(ledger, job_id)
        verdict = _recorded(ledger, job, given, identity)
        trail.record(request, Action.VERDICT, job=job, opinion=given.opinion)
        return VerdictResponse.of(verdict)

    return routes


def _recorded(ledger: Ledger, job: Job, given: VerdictRequest, identity: Identity) -> Verdict:
    """Record a verdict.

    Raises:
        Problem: the report is not the job's current one, or states no other finding.
    """
    try:
        return ledger.verdicts.record(
            job.id,
            report_uid=given.report_uid,
            user=identity.name,
            opinion=Opinion(given.opinion),
            right_finding=given.right_finding,
            comment=given.comment,
        )
    except (LookupError, ReplacedReportError) as exc:
        sentence = "This is not the job's current report: look at that one first."
        raise Problem(HTTPStatus.CONFLICT, sentence) from exc
    except VerdictError as exc:
        raise Problem(HTTPStatus.CONFLICT, str(exc)) from exc
