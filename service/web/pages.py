"""The HTML pages. They show no patient data, because there is no sign-in."""

import re
import time
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from service.domain.job import Job, JobState, Receipt, TransitionError
from service.domain.reasons import Reason
from service.domain.routing import Routes
from service.storage.ledger import Ledger
from service.web.problem import Problem, not_found
from service.web.render import render, zone
from service.web.upload import Uploads

ON_A_PAGE: Final = 50
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")


def known_job(ledger: Ledger, job_id: str) -> Job:
    """Return the job with this id.

    Raises:
        Problem: there is none.
    """
    job = ledger.queries.job(job_id) if _JOB_ID.fullmatch(job_id) else None
    if job is None:
        raise not_found("job")
    return job


def read_routes(ledger: Ledger) -> APIRouter:
    """Build the routes of the pages that only read."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/")
    def _recent(
        request: Request,
        state: JobState | None = None,
        before: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    ) -> Response:
        jobs = ledger.queries.recent(ON_A_PAGE + 1, before, state)
        values = {
            "job_counts": ledger.queries.job_counts(),
            "jobs": jobs[:ON_A_PAGE],
            "has_more": len(jobs) > ON_A_PAGE,
            "state": state,
            "before": before,
            "zone": zone(time.time()),
        }
        return render(request, "recent.html", values)

    @routes.get("/find")
    def _find(request: Request, q: Annotated[str, Query(pattern=r"^[0-9a-f.]{1,64}$")]) -> Response:
        jobs = ledger.queries.find(q)
        if len(jobs) == 1:
            return RedirectResponse(f"/jobs/{jobs[0].id}", HTTPStatus.SEE_OTHER)
        return render(request, "found.html", {"q": q, "jobs": jobs, "zone": zone(time.time())})

    @routes.get("/jobs/{job_id}")
    def _job(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        values = {
            "job": job,
            "outputs": ledger.queries.outputs(job_id),
            "revisions": ledger.queries.revisions(job),
            "deliveries": ledger.queries.deliveries(job_id),
            "trace": ledger.queries.trace(job_id),
            "zone": zone(job.received_at),
        }
        return render(request, "job.html", values)

    return routes


def write_routes(ledger: Ledger, uploads: Uploads, destinations: Routes) -> APIRouter:
    """Build the routes of the forms that change something: upload and requeue."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/upload")
    async def _upload(request: Request) -> Response:
        outcomes = await uploads.receive(request)
        (only, *others) = outcomes
        if not others and isinstance(only.result, Receipt):
            return RedirectResponse(f"/jobs/{only.result.job_id}", HTTPStatus.SEE_OTHER)
        if not others and isinstance(only.result, Problem):
            raise only.result
        return render(request, "uploaded.html", {"outcomes": outcomes})

    @routes.post("/jobs/{job_id}/requeue")
    def _requeue(job_id: str) -> Response:
        job = known_job(ledger, job_id)
        if job.reason is Reason.NO_DESTINATION and not destinations.has_destinations:
            raise Problem(HTTPStatus.CONFLICT, "No destination is configured yet.")
        try:
            ledger.jobs.requeue(job_id, destinations)
        except LookupError:
            raise not_found("job") from None
        except TransitionError as exc:
            raise Problem(HTTPStatus.CONFLICT, "Only a parked job can be requeued.") from exc
        return RedirectResponse(f"/jobs/{job_id}", HTTPStatus.SEE_OTHER)

    return routes
