"""Upload files with a form."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.domain.audit import Action
from service.domain.job import Receipt
from service.domain.user import Permission
from service.web.access import require
from service.web.problem import Problem
from service.web.render import render
from service.web.trail import Trail
from service.web.uploading.uploads import Uploads


def router(uploads: Uploads, trail: Trail) -> APIRouter:
    """Build the routes of the upload."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.UPLOAD)])

    @routes.post("/upload")
    async def _upload(request: Request) -> Response:
        outcomes = await uploads.receive(request)
        trail.record(request, Action.UPLOAD, files=len(outcomes))
        (only, *others) = outcomes
        if not others and isinstance(only.result, Receipt):
            return RedirectResponse(f"/jobs/{only.result.job_id}", HTTPStatus.SEE_OTHER)
        if not others and isinstance(only.result, Problem):
            raise only.result
        return render(request, "uploaded.html", {"outcomes": outcomes})

    return routes
