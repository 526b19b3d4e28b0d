"""The page of one instance, and what a person may do with its job."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.domain.audit import Action
from service.domain.job import TransitionError
from service.domain.reasons import Reason
from service.domain.routing import Routes
from service.domain.user import Permission
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.lookup import known_job
from service.web.pages.radiograph import viewer_values
from service.web.problem import Problem, not_found
from service.web.render import render, zone
from service.web.trail import Trail


def router(ledger: Ledger, destinations: Routes, trail: Trail) -> APIRouter:
    """Build the routes of one instance."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/jobs/{job_id}", dependencies=[require(Permission.VIEW)])
    def _job(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        trail.record(request, Action.VIEW, job=job)
        values = {
            "job": job,
            "outputs": ledger.queries.outputs(job_id),
            "revisions": ledger.queries.revisions(job),
            "deliveries": ledger.queries.deliveries(job_id),
            "trace": ledger.queries.trace(job_id),
            "zone": zone(job.received_at),
            **viewer_values(ledger, job),
        }
        return render(request, "job.html", values)

    @routes.post("/jobs/{job_id}/requeue", dependencies=[require(Permission.OPERATE)])
    def _requeue(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        if job.reason is Reason.NO_DESTINATION and not destinations.has_destinations:
            raise Problem(HTTPStatus.CONFLICT, "No destination is configured yet.")
        try:
            ledger.jobs.requeue(job_id, destinations)
        except LookupError:
            raise not_found("job") from None
        except TransitionError as exc:
            raise Problem(HTTPStatus.CONFLICT, "Only a parked job can be requeued.") from exc
        trail.record(request, Action.REQUEUE, job=job)
        return RedirectResponse(f"/jobs/{job_id}", HTTPStatus.SEE_OTHER)

    return routes
