"""The page of one instance, and what a person may do with its job."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.domain.audit import Action
from service.domain.job import MAXIMUM_SENTENCE, Job
from service.domain.user import Permission
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.access import require
from service.web.actions import JobActions
from service.web.form import Fields, return_to, written_text
from service.web.instance.page import PAGE_STATE_WORDS, instance_values
from service.web.lookup import known_job
from service.web.pages.radiograph import viewer_values
from service.web.render import render
from service.web.trail import Trail

DONE: Final = {
    "requeued": "The job was requeued.",
    "reanalysed": "Another analysis was asked for.",
    "dismissed": "The job was dismissed.",
    "judged": "The verdict was recorded.",
}
"""What the page says after an action, by the word in its address."""

JobPage = Callable[[Request, Job, dict[str, Any], HTTPStatus], Response]
"""Shows the page of a job with more values, and records the look."""


def job_page(settings: Settings, ledger: Ledger, spool: Spool, trail: Trail) -> JobPage:
    """Return the function that shows the page of a job."""

    def show(request: Request, job: Job, more: dict[str, Any], status: HTTPStatus) -> Response:
        trail.record(request, Action.VIEW, job=job)
        values = instance_values(settings, ledger, spool, job, request.state.identity)
        return render(request, "job.html", values | viewer_values(ledger, job) | more, status)

    return show


def router(settings: Settings, ledger: Ledger, trail: Trail, show: JobPage) -> APIRouter:
    """Build the routes of one instance."""
    routes = APIRouter(include_in_schema=False)
    actions = JobActions(ledger, settings.routes, trail)
    operate = require(Permission.OPERATE)

    @routes.get("/jobs/{job_id}", dependencies=[require(Permission.VIEW)])
    def _job(request: Request, job_id: str, done: str = "") -> Response:
        job = known_job(ledger, job_id)
        return show(request, job, {"done": DONE.get(done)}, HTTPStatus.OK)

    @routes.get("/jobs/{job_id}/state", dependencies=[require(Permission.VIEW)])
    def _state(job_id: str) -> Response:
        # not in the audit trail: an open page asks by itself, and the list of jobs shows the same
        state = known_job(ledger, job_id).state
        return JSONResponse(
            {"state": state, "words": f"This job is now: {PAGE_STATE_WORDS[state]}."}
        )

    @routes.post("/jobs/{job_id}/requeue", dependencies=[operate])
    def _requeue(request: Request, job_id: str, fields: Fields) -> Response:
        actions.requeue(request, known_job(ledger, job_id))
        return return_to(fields, f"/jobs/{job_id}?done=requeued")

    @routes.post("/jobs/{job_id}/reanalyse", dependencies=[operate])
    def _reanalyse(request: Request, job_id: str, fields: Fields) -> Response:
        actions.reanalyse(request, known_job(ledger, job_id))
        return return_to(fields, f"/jobs/{job_id}?done=reanalysed")

    @routes.post("/jobs/{job_id}/dismiss", dependencies=[operate])
    def _dismiss(request: Request, job_id: str, fields: Fields) -> Response:
        job = known_job(ledger, job_id)
        reason = written_text(fields, "reason", shortest=1, longest=MAXIMUM_SENTENCE)
        actions.dismiss(request, job, reason)
        return return_to(fields, f"/jobs/{job_id}?done=dismissed")

    return routes
