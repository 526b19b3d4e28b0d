"""The page of one instance, and what a person may do with its job."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.domain.audit import Action
from service.domain.job import MAXIMUM_SENTENCE
from service.domain.user import Permission
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.access import require
from service.web.actions import JobActions
from service.web.form import Fields, return_to, written_text
from service.web.instance.page import instance_values
from service.web.lookup import known_job
from service.web.pages.radiograph import viewer_values
from service.web.render import STATE_WORDS, render
from service.web.trail import Trail


def router(settings: Settings, ledger: Ledger, spool: Spool, trail: Trail) -> APIRouter:
    """Build the routes of one instance."""
    routes = APIRouter(include_in_schema=False)
    actions = JobActions(ledger, settings.routes, trail)
    operate = require(Permission.OPERATE)

    @routes.get("/jobs/{job_id}", dependencies=[require(Permission.VIEW)])
    def _job(request: Request, job_id: str) -> Response:
        job = known_job(ledger, job_id)
        trail.record(request, Action.VIEW, job=job)
        values = instance_values(settings, ledger, spool, job, request.state.identity)
        values.update(viewer_values(ledger, job))
        return render(request, "job.html", values)

    @routes.get("/jobs/{job_id}/state", dependencies=[require(Permission.VIEW)])
    def _state(job_id: str) -> Response:
        # not in the audit trail: an open page asks by itself, and the list of jobs shows the same
        state = known_job(ledger, job_id).state
        return JSONResponse({"state": state, "words": f"This job is now: {STATE_WORDS[state]}."})

    @routes.post("/jobs/{job_id}/requeue", dependencies=[operate])
    def _requeue(request: Request, job_id: str, fields: Fields) -> Response:
        actions.requeue(request, known_job(ledger, job_id))
        return return_to(fields, f"/jobs/{job_id}")

    @routes.post("/jobs/{job_id}/reanalyse", dependencies=[operate])
    def _reanalyse(request: Request, job_id: str, fields: Fields) -> Response:
        actions.reanalyse(request, known_job(ledger, job_id))
        return return_to(fields, f"/jobs/{job_id}")

    @routes.post("/jobs/{job_id}/dismiss", dependencies=[operate])
    def _dismiss(request: Request, job_id: str, fields: Fields) -> Response:
        job = known_job(ledger, job_id)
        reason = written_text(fields, "reason", shortest=1, longest=MAXIMUM_SENTENCE)
        actions.dismiss(request, job, reason)
        return return_to(fields, f"/jobs/{job_id}")

    return routes
