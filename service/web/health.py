"""Liveness, readiness and metrics."""

import tempfile
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.spool import Spool
from service.telemetry.heartbeat import FRESH_SECONDS
from service.telemetry.ledger_collector import LedgerMetrics
from service.telemetry.scrape import exposition
from service.telemetry.timeouts import call_with_timeout

NEEDED_ROLES: Final = ("listener", "relay", "infer", "deliver")
_LEDGER_SECONDS: Final = 3.0


def router(settings: Settings, ledger: Ledger, spool: Spool) -> APIRouter:
    """Build the routes of health and metrics."""
    routes = APIRouter(include_in_schema=False)
    collector = LedgerMetrics(settings, ledger, spool)

    @routes.get("/health/live")
    async def _live() -> JSONResponse:
        return JSONResponse({"live": True})

    @routes.get("/health/ready")
    def _ready() -> JSONResponse:
        missing = [*_missing_on_disk(spool), *_missing_roles(ledger)]
        status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
        return JSONResponse({"ready": not missing, "missing": missing}, int(status))

    @routes.get("/metrics")
    def _metrics(request: Request) -> Response:
        page, content_type = exposition(collector, request.headers.get("accept", ""))
        return Response(page, headers={"content-type": content_type})

    return routes


def _missing_on_disk(spool: Spool) -> list[str]:
    try:
        if spool.free_bytes() == 0:
            return ["spool: the disk is at its reserve"]
        with tempfile.TemporaryFile(dir=spool.incoming):
            return []
    except OSError:
        return ["spool: cannot be written"]


def _missing_roles(ledger: Ledger) -> list[str]:
    try:
        beats = call_with_timeout(_LEDGER_SECONDS, lambda: ledger.heartbeats.alive(FRESH_SECONDS))
    except (LedgerError, TimeoutError):
        return ["ledger: does not answer"]
    ready = {beat.role for beat in beats if beat.ready and beat.progress}
    stuck = {beat.role for beat in beats if not beat.progress}
    return [
        f"{role}: makes no progress" if role in stuck else f"{role}: no process is ready"
        for role in NEEDED_ROLES
        if role not in ready
    ]
