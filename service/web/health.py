"""Liveness, readiness and metrics."""

import tempfile
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service.domain.part import PartName
from service.settings import Settings
from service.storage.faults import Fault
from service.storage.ledger import Heartbeat, Ledger, LedgerError
from service.storage.spool import Spool
from service.telemetry.heartbeat import FRESH_SECONDS, machine
from service.telemetry.ledger_collector import LedgerMetrics
from service.telemetry.scrape import exposition
from service.telemetry.timeouts import call_with_timeout

NOT_READY: Final = "{}: no process is ready"
NEEDED_ROLES: Final = (PartName.LISTENER, PartName.RELAY, PartName.INFER, PartName.DELIVER)
_LEDGER_SECONDS: Final = 3.0
_THREADS: Final = 4


def router(settings: Settings, ledger: Ledger, spool: Spool) -> APIRouter:
    """Build the routes of health and metrics."""
    routes = APIRouter(include_in_schema=False)
    collector = LedgerMetrics(settings, ledger, spool)
    threads = CapacityLimiter(_THREADS)  # of their own: those of the pages may all be busy

    @routes.get("/health/live")
    async def _live() -> JSONResponse:
        return JSONResponse({"live": True})

    @routes.get("/health/ready")
    async def _ready(part: PartName | None = None) -> JSONResponse:
        missing = await to_thread.run_sync(
            lambda: whats_missing(ledger, spool) if part is None else missing_here(ledger, part),
            limiter=threads,
        )
        status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
        return JSONResponse({"ready": not missing, "missing": missing}, int(status))

    @routes.get("/metrics")
    async def _metrics(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        page, content_type = await to_thread.run_sync(
            lambda: exposition(collector, accept), limiter=threads
        )
        return Response(page, headers={"content-type": content_type})

    return routes


def whats_missing(ledger: Ledger, spool: Spool) -> list[str]:
    """Return what prevents the service from working; nothing if all of it does."""
    return [*missing_on_disk(spool), *missing_roles(ledger)]


def missing_on_disk(spool: Spool) -> list[str]:
    """Return what prevents the spool from being written; nothing if it can be."""
    try:
        if not spool.has_room():
            return ["spool: the disk is at its reserve"]
        with tempfile.TemporaryFile(dir=spool.incoming):
            return []
    except OSError:
        return ["spool: cannot be written"]


def missing_roles(ledger: Ledger) -> list[str]:
    """Return which parts do not work, and why; nothing if all do."""
    return _missing(ledger, NEEDED_ROLES, machine="")


def missing_here(ledger: Ledger, part: PartName) -> list[str]:
    """Return why a part does not work on this machine; nothing if it does.

    For the probes of a container that runs this part: those of other machines do not matter.
    """
    return _missing(ledger, (part,), machine=machine())


def _missing(ledger: Ledger, roles: Sequence[str], *, machine: str) -> list[str]:
    try:
        beats, breakers = call_with_timeout(
            _LEDGER_SECONDS,
            lambda: (
                ledger.heartbeats.alive(FRESH_SECONDS),
                ledger.breakers.not_closed(FRESH_SECONDS),
            ),
        )
    except (LedgerError, TimeoutError):
        return ["ledger: does not answer"]
    beats = [each for each in beats if each.holder.startswith(machine)]
    faults = {
        each.name: each.fault
        for each in breakers
        if each.fault is not None and each.name.startswith(machine)
    }
    missing = [_missing_role(role, beats, faults) for role in roles]
    return [each for each in missing if each is not None]


def _missing_role(role: str, beats: Sequence[Heartbeat], faults: Mapping[str, Fault]) -> str | None:
    """Return what prevents the processes of a role from working; None if one works.

    A breaker of workers has the beginning of their names, and so says which of them wait.
    """
    beats = [beat for beat in beats if beat.role == role]
    working = [beat for beat in beats if beat.ready and beat.progress]
    waiting = [beat for beat in working if beat.holder.startswith(tuple(faults))]
    if len(working) > len(waiting):
        return None
    named = ", ".join(sorted({str(fault) for name, fault in faults.items() if f"/{role}/" in name}))
    if waiting:
        return f"{role}: breaker open, {named}"
    if any(not beat.progress for beat in beats):
        return f"{role}: makes no progress"
    return NOT_READY.format(role) + (f", {named}" if named else "")
