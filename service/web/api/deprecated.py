"""The API before version 1: the same JSON as ever, for one release more.

Each response says so (RFC 9745) and names what replaces it.
"""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from service.domain.audit import Action
from service.domain.job import JobState
from service.domain.user import Permission
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.api.documentation import JobId, described
from service.web.api.uploads import MULTIPART, status_of
from service.web.lookup import job_detail, known_job
from service.web.pages.worklist import ON_A_PAGE
from service.web.problem import Problem
from service.web.schemas import (
    JobDetailResponse,
    JobListResponse,
    JobResponse,
)
from service.web.trail import Trail
from service.web.uploading.recording import RecordedUploads
from service.web.uploading.uploads import Uploaded

MOST_JOBS: Final = 500
_SINCE: Final = 1795910400  # 2026-11-29, seconds since the epoch


def router(ledger: Ledger, uploads: RecordedUploads, trail: Trail) -> APIRouter:
    """Build the routes of the API."""
    routes = APIRouter(
        prefix="/api", tags=["deprecated"], deprecated=True, dependencies=[Depends(_deprecate)]
    )

    @routes.get(
        "/jobs",
        operation_id="listJobsBeforeVersion1",
        dependencies=[require(Permission.VIEW)],
        responses=described({}),
    )
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

    @routes.get(
        "/jobs/{job_id}",
        operation_id="getJobBeforeVersion1",
        dependencies=[require(Permission.VIEW)],
        responses=described({}),
    )
    def _job(request: Request, job_id: JobId) -> JobDetailResponse:
        job = known_job(ledger, job_id)
        trail.record(request, Action.VIEW, job=job)
        return job_detail(ledger, job, request.state.identity)

    @routes.post(
        "/instances",
        operation_id="uploadInstancesBeforeVersion1",
        dependencies=[require(Permission.UPLOAD)],
        responses=described(
            {key: {"description": each} for key, each in _OUTCOMES.items()}, stores=True
        ),
        openapi_extra=MULTIPART,
    )
    async def _instances(request: Request, response: Response) -> dict[str, Any]:
        outcomes = await uploads.receive(request)
        response.status_code = int(status_of(outcomes))
        return _response(outcomes)

    return routes


_OUTCOMES: Final = {
    200: "All instances were received before.",
    201: "At least one instance is new.",
    207: "Some files were refused.",
}


def _deprecate(request: Request, response: Response) -> None:
    """Say that the operation is deprecated (RFC 9745), and what replaces it (RFC 5829)."""
    successor = request.url.path.replace("/api/", "/api/v1/", 1)
    response.headers["Deprecation"] = f"@{_SINCE}"
    response.headers["Link"] = f'<{successor}>; rel="successor-version"'


def _response(outcomes: list[Uploaded]) -> dict[str, Any]:
    return {"instances": [_outcome(each) for each in outcomes]}


def _outcome(outcome: Uploaded) -> dict[str, Any]:
    if isinstance(outcome.result, Problem):
        return {"name": outcome.name, "problem": outcome.result.members()}
    return {
        "name": outcome.name,
        "job_id": outcome.result.job_id,
        "repeated": outcome.result.repeated,
        "corrects": outcome.result.corrects,
    }
