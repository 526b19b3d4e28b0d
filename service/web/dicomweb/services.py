"""The DICOMweb services under one address."""

from collections.abc import Sequence
from typing import Final

from fastapi import APIRouter

from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.dicomweb import retrieve, search, store
from service.web.dicomweb.holdings import StudyItems
from service.web.dicomweb.summaries import Summaries
from service.web.dicomweb.threads import FewThreads
from service.web.trail import Trail
from service.web.uploading.uploads import Uploads

PREFIX: Final = "/dicom-web"


def router(
    ledger: Ledger, spool: Spool, uploads: Uploads, sop_classes: Sequence[str], trail: Trail
) -> APIRouter:
    """Build the routes of STOW-RS, QIDO-RS and WADO-RS, to be included under the prefix.

    PS3.18 describes them, not OpenAPI.
    """
    items = StudyItems(ledger, spool, Summaries(search.SUMMARY_TAGS))
    threads = FewThreads()
    routes = APIRouter(include_in_schema=False)
    routes.include_router(store.router(ledger, spool, uploads, sop_classes, trail, threads))
    routes.include_router(search.router(ledger, items, trail, threads))
    routes.include_router(retrieve.router(items, trail, threads))
    return routes
