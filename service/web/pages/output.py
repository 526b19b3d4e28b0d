"""Download what was made for an instance."""

import os
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from service.dicom.encapsulated_pdf import pdf_of
from service.dicom.output_elements import UnreadableOutputError
from service.domain.audit import Action
from service.domain.job import Job
from service.domain.routing import OutputKind
from service.domain.user import Identity, Permission
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.web.access import require
from service.web.lookup import job_detail, known_job, known_output
from service.web.problem import Problem
from service.web.trail import Trail

JSON: Final = "json"


def router(ledger: Ledger, spool: Spool, trail: Trail) -> APIRouter:
    """Build the route of downloads."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.PATIENT)])

    @routes.get("/jobs/{job_id}/outputs/{kind}")
    def _output(
        request: Request,
        job_id: str,
        kind: str,
        form: Annotated[Literal["dicom", "pdf"], Query(alias="as")] = "dicom",
    ) -> Response:
        job = known_job(ledger, job_id)
        response = _response(ledger, spool, job, kind, request.state.identity, as_pdf=form == "pdf")
        sent_as = JSON if kind == JSON else form
        trail.record(request, Action.DOWNLOAD, job=job, kind=kind, form=sent_as)
        return response

    return routes


def _response(
    ledger: Ledger, spool: Spool, job: Job, kind: str, identity: Identity, *, as_pdf: bool
) -> Response:
    if as_pdf and kind != OutputKind.PDF:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Only the page is a PDF.")
    if kind == JSON:
        detail = asdict(job_detail(ledger, job, identity))
        return JSONResponse(detail, headers=_attachment(job, "", "json"))
    path = known_output(ledger, spool, job, kind)
    if as_pdf:
        return _pdf(path, job)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise _gone() from None
    return _file(path, found, _attachment(job, kind, "dcm"))


def _file(path: Path, found: os.stat_result, headers: dict[str, str]) -> Response:
    return FileResponse(path, stat_result=found, media_type="application/dicom", headers=headers)


def _pdf(path: Path, job: Job) -> Response:
    try:
        document = pdf_of(path)
    except FileNotFoundError:
        raise _gone() from None
    except UnreadableOutputError as exc:
        raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(exc)) from exc
    return Response(
        document, media_type="application/pdf", headers=_attachment(job, OutputKind.PDF, "pdf")
    )


def _attachment(job: Job, kind: str, suffix: str) -> dict[str, str]:
    name = f"lobar-{job.id[:8]}{f'-{kind}' if kind else ''}.{suffix}"
    return {"content-disposition": f'attachment; filename="{name}"'}


def _gone() -> Problem:
    return Problem(HTTPStatus.GONE, "Retention removed the bytes of this output.")
