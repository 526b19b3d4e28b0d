"""Build the web application."""

from pathlib import Path
from typing import Final

from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.decoding.pictures import PictureConverter
from service.decoding.radiograph import Radiographs
from service.dicom.implementation import VERSION
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web import health
from service.web.api import deprecated, v1
from service.web.api.documentation import DescribedApplication
from service.web.changes import Changes
from service.web.dicomweb import services
from service.web.fhir import routes as fhir
from service.web.guard import Guard
from service.web.pages import (
    api,
    audit,
    events,
    instance,
    model_card,
    output,
    quality,
    radiograph,
    shadow,
    status,
    upload,
    verdict,
    worklist,
)
from service.web.problem import add_problem_handlers
from service.web.serving.admission import Admission
from service.web.serving.no_telemetry import NO_TELEMETRY
from service.web.sign_in.forwarded import Forwarded
from service.web.sign_in.routes import add_sign_in
from service.web.trail import Trail
from service.web.uploading.recording import RecordedUploads
from service.web.uploading.uploads import Uploads

_STATIC: Final = Path(__file__).parent / "static"


def create_app(
    settings: Settings,
    ledger: Ledger,
    spool: Spool,
    ingest: Ingest,
    pictures: PictureConverter,
    radiographs: Radiographs,
    changes: Changes | None = None,
) -> ASGIApp:
    """Build the application; the caller opens what it is given before, and closes it after.

    Args:
        settings: the configuration.
        ledger: read and written by the pages.
        spool: where uploads are received.
        ingest: takes what was uploaded.
        pictures: converts PNG and JPEG.
        radiographs: draws what is in the spool.
        changes: whose streams the caller ends when it stops serving.
    """
    uploads = Uploads(settings, spool, ingest, pictures)
    app = DescribedApplication(
        title="Lobar",
        version=VERSION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # FastAPI's own loads its scripts from another host
        redoc_url=None,
        telemetry=NO_TELEMETRY,
    )
    trail = Trail(ledger)
    recorded = RecordedUploads(uploads, ledger, trail)
    add_sign_in(app, settings.sign_in, ledger, trail)
    app.include_router(worklist.router(ledger, trail))
    app.include_router(events.router(changes or Changes(ledger.worklist.revision)))
    show_job = instance.job_page(settings, ledger, spool, trail)
    app.include_router(instance.router(settings, ledger, trail, show_job))
    app.include_router(radiograph.router(ledger, spool, radiographs, trail))
    app.include_router(output.router(ledger, spool, trail))
    app.include_router(verdict.router(ledger, trail, show_job))
    app.include_router(model_card.router(settings.bundle.path))
    app.include_router(upload.router(settings, ledger, recorded))
    app.include_router(status.router(settings, ledger, spool, trail))
    app.include_router(quality.router(settings, ledger))
    app.include_router(shadow.router(settings, ledger))
    app.include_router(audit.router(ledger, trail))
    app.include_router(api.router())
    version_1 = v1.router(ledger, spool, settings.routes, recorded, trail)
    app.include_router(version_1, prefix=v1.PREFIX)
    app.include_router(deprecated.router(ledger, recorded, trail))
    dicomweb = services.router(ledger, spool, uploads, settings.dicom.sop_classes, trail)
    app.include_router(dicomweb, prefix=services.PREFIX)
    app.include_router(fhir.router(ledger, spool, trail))
    app.include_router(health.router(settings, ledger, spool))
    app.mount("/static", StaticFiles(directory=_STATIC))
    add_problem_handlers(app)
    guard = Guard(
        Admission(app),
        names={settings.web.host, *settings.web.names},
        maximum_body_bytes=settings.web.maximum_upload_bytes,
    )
    return Forwarded(guard, settings.sign_in.proxy_addresses)
