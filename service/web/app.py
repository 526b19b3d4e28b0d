"""Build the web application."""

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.decoding.pictures import PictureConverter
from service.dicom.implementation import VERSION
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web import health
from service.web.access import Authenticator
from service.web.api import jobs
from service.web.guard import Guard
from service.web.pages import audit, instance, upload, worklist
from service.web.problem import add_problem_handlers
from service.web.trail import Trail
from service.web.uploading.uploads import Uploads

_IDLE_SECONDS: Final = 3600.0
_STATIC: Final = Path(__file__).parent / "static"


def create_app(
    settings: Settings, ledger: Ledger, spool: Spool, ingest: Ingest, pictures: PictureConverter
) -> ASGIApp:
    """Build the application; the caller opens what it is given before, and closes it after."""
    uploads = Uploads(settings, spool, ingest, pictures)
    app = FastAPI(
        title="Lobar",
        version=VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's own loads its scripts from another host
        redoc_url=None,
    )
    app.state.authenticator = Authenticator(ledger, idle_seconds=_IDLE_SECONDS)
    trail = Trail(ledger)
    app.state.trail = trail
    app.include_router(worklist.router(ledger))
    app.include_router(instance.router(ledger, settings.routes, trail))
    app.include_router(upload.router(uploads, trail))
    app.include_router(audit.router(ledger, trail))
    app.include_router(jobs.router(ledger, uploads, trail))
    app.include_router(health.router(settings, ledger, spool))
    app.mount("/static", StaticFiles(directory=_STATIC))
    add_problem_handlers(app)
    return Guard(app, host=settings.web.host, maximum_body_bytes=settings.web.maximum_upload_bytes)
