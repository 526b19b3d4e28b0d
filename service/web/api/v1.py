"""Version 1 of the API: what `docs/api.md` promises not to change."""

from typing import Final

from fastapi import APIRouter

from service.domain.routing import Routes
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.api import actions, jobs, service, uploads, verdicts
from service.web.trail import Trail
from service.web.uploading.recording import RecordedUploads

PREFIX: Final = "/api/v1"


def router(
    ledger: Ledger, spool: Spool, destinations: Routes, taking: RecordedUploads, trail: Trail
) -> APIRouter:
    """Build the routes of version 1, to be included under its prefix.

    FastAPI builds the routes of a router twice more where it is included without one.
    """
    routes = APIRouter()
    routes.include_router(jobs.router(ledger, spool, trail))
    routes.include_router(actions.router(ledger, destinations, trail))
    routes.include_router(verdicts.router(ledger, trail))
    routes.include_router(uploads.router(taking))
    routes.include_router(service.router(ledger, trail))
    return routes
