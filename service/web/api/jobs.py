"""The JSON API. Times are seconds since the epoch; errors are RFC 9457 problems."""

from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from service.domain.audit import Action
from service.domain.job import JobState
from service.domain.user import Permission
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.lookup import known_job
from service.web.pages.worklist import ON_A_PAGE
from service.web.problem import Problem
from service.web.schemas import (
    DeliveryResponse,
    EventResponse,
    JobDetailResponse,
    JobListResponse,
    JobResponse,
    OutputResponse,
    RevisionResponse,
)
from service.web.trail import Trail
from service.web.uploading.uploads import Uploaded, Uploads

MOST_JOBS: Final = 500


def router(ledger: Ledger, uploads: Uploads, trail: Trail) -> APIRouter:
    """Build the routes of the API."""
    routes = APIRouter(prefix="/api")

    @routes.get("/jobs", dependencies=[require(Permission.VIEW)])
    def _jobs(
        state: JobState | None = None,
        before: Annotated[float | None, Query(allow_inf_nan=False)] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_JOBS)] = ON_A_PAGE,
    ) -> JobListResponse:
        found = ledger.queries.recent(limit + 1, before, state)
        jobs = found[:limit]
        following = None
        if len(found) > limit:
            query = {"before": repr(jobs[-1].received_at), "limit": limit}
            if state is not None:
                query["state"] = state
            following = f"/api/jobs?{urlencode(query)}"
        return JobListResponse(jobs=list(map(JobResponse.of, jobs)), next=following)

    @routes.get("/jobs/{job_id}", dependencies=[require(Permission.VIEW)])
    def _job(request: Request, job_id: str) -> JobDetailResponse:
        job = known_job(ledger, job_id)
        trail.record(request, Action.VIEW, job=job)
        return JobDetailResponse(
            job=JobResponse.of(job),
            outputs=list(map(OutputResponse.of, ledger.queries.outputs(job_id))),
            revisions=list(map(RevisionResponse.of, ledger.queries.revisions(job))),
            deliveries=list(map(DeliveryResponse.of, ledger.queries.deliveries(job_id))),
            trace=list(map(EventResponse.of, ledger.queries.trace(job_id))),
        )

    @routes.post("/instances", openapi_extra=_MULTIPART, dependencies=[require(Permission.UPLOAD)])
    async def _instances(request: Request) -> JSONResponse:
        outcomes = await uploads.receive(request)
        trail.record(request, Action.UPLOAD, files=len(outcomes))
        return _response(outcomes)

    return routes


_MULTIPART: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}


def _response(outcomes: list[Uploaded]) -> JSONResponse:
    """Build the response: 201 with a new instance, 200 when all are known, 207 with a refused one.

    Raises:
        Problem: the only file was refused.
    """
    problems = [each.result for each in outcomes if isinstance(each.result, Problem)]
    if problems and len(outcomes) == 1:
        raise problems[0]
    instances = [_outcome(each) for each in outcomes]
    if problems:
        status = HTTPStatus.MULTI_STATUS
    elif all(each["repeated"] for each in instances):
        status = HTTPStatus.OK
    else:
        status = HTTPStatus.CREATED
    return JSONResponse({"instances": instances}, int(status))


def _outcome(outcome: Uploaded) -> dict[str, Any]:
    if isinstance(outcome.result, Problem):
        return {"name": outcome.name, "problem": outcome.result.members()}
    return {
        "name": outcome.name,
        "job_id": outcome.result.job_id,
        "repeated": outcome.result.repeated,
        "corrects": outcome.result.corrects,
    }
