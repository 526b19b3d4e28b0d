"""The page of one instance, and what a person may do with its job."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.domain.audit import Action
from service.domain.job import Job, TransitionError
from service.domain.reasons import Reason
from service.domain.user import Permission
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.access import require
from service.web.form import Fields, return_to, written_text
from service.web.instance.page import instance_values
from service.web.lookup import known_job
from service.web.pages.radiograph import viewer_values
from service.web.problem import Problem, not_found
from service.web.render import render
from service.web.trail import Trail

LONGEST_REASON: Final = 500


def router(settings: Settings, ledger: Ledger, spool: Spool, trail: Trail) -> APIRouter:
    """Build the routes of one instance."""
    routes = APIRouter(include_in_schema=False)
    destinations = settings.routes

    @routes.get("/jobs/{job_id}", dependencies=[require(Permission.VIEW)])
    def _job(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        trail.record(request, Action.VIEW, job=job)
        values = instance_values(settings, ledger, spool, job, request.state.identity)
        values.update(viewer_values(ledger, job))
        return render(request, "job.html", values)

    @routes.post("/jobs/{job_id}/requeue", dependencies=[require(Permission.OPERATE)])
    def _requeue(request: Request, job_id: str, fields: Fields) -> Response:
        job = known_job(ledger, job_id)
        if job.reason is Reason.NO_DESTINATION and not destinations.has_destinations:
            raise Problem(HTTPStatus.CONFLICT, "No destination is configured yet.")
        _move(
            lambda: ledger.jobs.requeue(job_id, destinations), "Only a parked job can be requeued."
        )
        trail.record(request, Action.REQUEUE, job=job)
        return return_to(fields, f"/jobs/{job_id}")

    @routes.post("/jobs/{job_id}/reanalyse", dependencies=[require(Permission.OPERATE)])
    def _reanalyse(request: Request, job_id: str, fields: Fields) -> Response:
        job = known_job(ledger, job_id)
        _move(lambda: ledger.jobs.reanalyse(job_id), _why_not_reanalysed(job))
        trail.record(request, Action.REANALYSE, job=job)
        return return_to(fields, f"/jobs/{job_id}")

    @routes.post("/jobs/{job_id}/dismiss", dependencies=[require(Permission.OPERATE)])
    def _dismiss(request: Request, job_id: str, fields: Fields) -> Response:
        job = known_job(ledger, job_id)
        reason = written_text(fields, "reason", shortest=1, longest=LONGEST_REASON)
        _move(
            lambda: ledger.jobs.dismiss(job_id, reason),
            "Only a parked job can be dismissed.",
        )
        trail.record(request, Action.DISMISS, job=job)
        return return_to(fields, f"/jobs/{job_id}")

    return routes


def _move(move: Callable[[], Job], why_not: str) -> None:
    """Move a job to another state.

    Raises:
        Problem: there is no such job any more, or its state does not allow it.
    """
    try:
        move()
    except LookupError:
        raise not_found("job") from None
    except TransitionError:
        raise Problem(HTTPStatus.CONFLICT, why_not) from None


def _why_not_reanalysed(job: Job) -> str:
    if job.purged_at is not None:
        return "Retention removed the bytes of this instance: have it sent again."
    return "This job is not finished: it is being analysed or delivered. Wait for its end."
