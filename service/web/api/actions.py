"""What a person or program may do with a job: requeue, reanalyse, dismiss."""

from typing import Annotated, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from service.domain.job import MAXIMUM_SENTENCE
from service.domain.routing import Routes
from service.domain.user import Permission
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.actions import JobActions
from service.web.api.body import body_of, documented
from service.web.api.documentation import JobId, described, example
from service.web.api.examples import JOB
from service.web.lookup import known_job
from service.web.schemas.jobs import JobResponse
from service.web.trail import Trail

_RESPONSES = described(example("The job as it is now.", JOB))


# one line, and not blank, as `service.domain.job.require_sentence` takes it
_LINE: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
_SENTENCE: Final = rf"^[^{_LINE}]*[^\s{_LINE}][^{_LINE}]*$"


class Dismissal(BaseModel):
    """Why a parked job is closed without a result."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    reason: Annotated[
        str,
        Field(
            min_length=1, max_length=MAXIMUM_SENTENCE, pattern=_SENTENCE, description="A sentence."
        ),
    ]


def router(ledger: Ledger, destinations: Routes, trail: Trail) -> APIRouter:
    """Build the routes of actions."""
    actions = JobActions(ledger, destinations, trail)
    routes = APIRouter(tags=["actions"], dependencies=[require(Permission.OPERATE)])

    @routes.post(
        "/jobs/{job_id}/requeue",
        operation_id="requeueJob",
        summary="Continue a parked job",
        responses=_RESPONSES,
    )
    def _requeue(request: Request, job_id: JobId) -> JobResponse:
        job = known_job(ledger, job_id)
        return JobResponse.of(actions.requeue(request, job))

    @routes.post(
        "/jobs/{job_id}/reanalyse",
        operation_id="reanalyseJob",
        summary="Have a finished or parked job analysed again with the configured model",
        responses=_RESPONSES,
    )
    def _reanalyse(request: Request, job_id: JobId) -> JobResponse:
        job = known_job(ledger, job_id)
        return JobResponse.of(actions.reanalyse(request, job))

    @routes.post(
        "/jobs/{job_id}/dismiss",
        operation_id="dismissJob",
        summary="Close a parked job without a result",
        responses=_RESPONSES,
        openapi_extra=documented(Dismissal, {"reason": "The patient was sent home."}),
    )
    def _dismiss(
        request: Request, job_id: JobId, dismissal: Annotated[Dismissal, body_of(Dismissal)]
    ) -> JobResponse:
        job = known_job(ledger, job_id)
        return JobResponse.of(actions.dismiss(request, job, dismissal.reason))

    return routes
