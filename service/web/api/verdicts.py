"""Radiologists' verdicts on the reports of a job."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Request

from service.domain.audit import Action
from service.domain.user import Permission
from service.domain.verdict import Opinion
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.api.body import body_of, documented
from service.web.api.documentation import JobId, described, example
from service.web.api.examples import REPORT_UID, VERDICT, VERDICTS
from service.web.lookup import known_job
from service.web.schemas.verdicts import VerdictListResponse, VerdictRequest, VerdictResponse
from service.web.trail import Trail
from service.web.verdicts.recording import VerdictRecorder

_EXAMPLE = {
    "report_uid": REPORT_UID,
    "opinion": "disagree",
    "right_finding": "absent",
    "comment": "Atelectasis.",
}


def router(ledger: Ledger, trail: Trail) -> APIRouter:
    """Build the routes of verdicts."""
    recorder = VerdictRecorder(ledger, trail)
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
        dependencies=[require(Permission.VERDICT)],
        responses=described(example("The verdict.", VERDICT, HTTPStatus.CREATED)),
        openapi_extra=documented(VerdictRequest, _EXAMPLE),
    )
    def _add(
        request: Request,
        job_id: JobId,
        given: Annotated[VerdictRequest, body_of(VerdictRequest)],
    ) -> VerdictResponse:
        job = known_job(ledger, job_id)
        verdict = recorder.record(
            request,
            job,
            report_uid=given.report_uid,
            opinion=Opinion(given.opinion),
            right_finding=given.right_finding,
            comment=given.comment,
        )
        return VerdictResponse.of(verdict)

    return routes
