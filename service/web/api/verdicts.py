"""Radiologists' verdicts on the reports of a job."""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Request

from service.domain.audit import Action
from service.domain.job import Job
from service.domain.routing import OutputKind
from service.domain.user import Identity, Permission
from service.domain.verdict import Opinion, Verdict
from service.storage.ledger import Ledger
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


def router(ledger: Ledger, trail: Trail, clock: Callable[[], float] = time.time) -> APIRouter:
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
        _require_current_report(ledger, job, given)
        verdict = ledger.verdicts.record(_verdict(job, given, identity, clock()))
        trail.record(request, Action.VERDICT, job=job, opinion=given.opinion)
        return VerdictResponse.of(verdict)

    return routes


def _require_current_report(ledger: Ledger, job: Job, given: VerdictRequest) -> None:
    outputs = ledger.queries.outputs(job.id)
    current = {each.sop_instance_uid for each in outputs if each.kind == OutputKind.SR}
    if given.report_uid not in current:
        sentence = "This is not the job's current report: look at that one first."
        raise Problem(HTTPStatus.CONFLICT, sentence)


def _verdict(job: Job, given: VerdictRequest, identity: Identity, now: float) -> Verdict:
    if job.finding is None or job.probability is None:
        raise Problem(HTTPStatus.CONFLICT, "The report states no finding to agree with.")
    if given.right_finding == job.finding:
        raise Problem(HTTPStatus.CONFLICT, "The report states that finding already.")
    return Verdict(
        at=now,
        user=identity.name,
        opinion=Opinion(given.opinion),
        right_finding=given.right_finding,
        comment=given.comment,
        job_id=job.id,
        report_uid=given.report_uid,
        sop_instance_uid=job.sop_instance_uid,
        sha256=job.sha256,
        finding=job.finding,
        probability=job.probability,
        operating_point=job.operating_point or "",
        model=job.model or "",
        population=job.population,
    )
