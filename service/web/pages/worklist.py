"""The worklist: what was received, and its state."""

import time
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from service.domain.job import JobState
from service.domain.user import Permission
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.render import render, zone

ON_A_PAGE: Final = 50


def router(ledger: Ledger) -> APIRouter:
    """Build the routes of the worklist and of the search."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.VIEW)])

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

    return routes
