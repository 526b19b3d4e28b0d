"""The web application, put together."""

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.dicom.implementation import VERSION
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web import api, health, pages
from service.web.guard import Guard
from service.web.problem import answer_with_problems
from service.web.upload import Uploads

_STATIC: Final = Path(__file__).parent / "static"


def create_app(settings: Settings, ledger: Ledger, spool: Spool, ingest: Ingest) -> ASGIApp:
    """Give the application; ledger and spool must be ready, and are the caller's to close."""
    uploads = Uploads(settings, spool, ingest)
    app = FastAPI(
        title="Lobar",
        version=VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's own loads its scripts from another host
        redoc_url=None,
    )
    app.include_router(pages.reading(ledger))
    app.include_router(pages.writing(ledger, uploads, settings.routes))
    app.include_router(api.router(ledger, uploads))
    app.include_router(health.router(settings, ledger, spool))
    app.mount("/static", StaticFiles(directory=_STATIC))
    answer_with_problems(app)
    return Guard(app, host=settings.web.host, maximum_body_bytes=settings.web.maximum_upload_bytes)
