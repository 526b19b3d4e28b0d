"""The shadow model beside the one that reports: nothing about a patient."""

import time
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from service.domain.user import Permission
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.ledger.reading.statistics import DAY_SECONDS
from service.web.access import require
from service.web.quality import figures
from service.web.quality.shadow import OUTCOMES, summarise
from service.web.render import render

WEEKS: Final = (1, 4, 12, 26)


def router(settings: Settings, ledger: Ledger, clock: Callable[[], float] = time.time) -> APIRouter:
    """Build the route of the shadow model's page."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.VIEW)])

    @routes.get("/shadow")
    def _shadow(
        request: Request,
        weeks: Annotated[int, Query(ge=1, le=104)] = 4,
        pair: Annotated[int, Query(ge=0, le=99)] = 0,
    ) -> Response:
        now = clock()
        values = {
            "weeks": weeks,
            "choices": WEEKS,
            "outcomes": OUTCOMES,
            "in_words": figures.in_words,
            "number": pair,
            "is_configured": settings.shadow.path is not None,
            "share": settings.shadow.share,
            "summary": summarise(ledger, now - weeks * 7 * DAY_SECONDS, now, pair),
        }
        return render(request, "shadow.html", values)

    return routes
