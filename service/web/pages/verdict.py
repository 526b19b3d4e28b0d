"""A radiologist's verdict on a report, and all verdicts as a table."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from service.domain.audit import Action
from service.domain.user import Identity, Permission
from service.domain.verdict import LONGEST_COMMENT, Opinion
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.form import Fields, return_to, written_text
from service.web.lookup import known_job
from service.web.problem import Problem
from service.web.trail import Trail
from service.web.verdicts.recording import VerdictRecorder
from service.web.verdicts.table import csv_lines, moment_of


def router(ledger: Ledger, trail: Trail) -> APIRouter:
    """Build the routes of verdicts."""
    routes = APIRouter(include_in_schema=False)
    recorder = VerdictRecorder(ledger, trail)

    @routes.post("/jobs/{job_id}/verdict", dependencies=[require(Permission.VERDICT)])
    def _judge(request: Request, job_id: str, fields: Fields) -> Response:
        opinion = _opinion(fields.get("opinion", ""))
        # one who disagreed first and then chose otherwise has left the select as it was
        right_finding = fields.get("right_finding") if opinion is Opinion.DISAGREE else None
        recorder.record(
            request,
            known_job(ledger, job_id),
            report_uid=fields.get("report_uid", ""),
            opinion=opinion,
            right_finding=right_finding or None,
            comment=written_text(fields, "comment", longest=LONGEST_COMMENT),
        )
        return return_to(fields, f"/jobs/{job_id}#verdict")

    @routes.get("/verdicts.csv")
    def _table(
        request: Request,
        identity: Annotated[Identity, require(Permission.EXPORT)],
        since: str | None = None,
        comments: bool = False,  # noqa: FBT001,FBT002 -- of the address
    ) -> Response:
        if comments and not identity.may(Permission.PATIENT):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "Comments may name a patient, and your role does not include patient data.",
            )
        first = _moment(since) if since else None
        trail.record(request, Action.EXPORT, what="verdicts", since=since, comments=comments)
        return StreamingResponse(
            csv_lines(ledger, since=first, comments=comments),
            media_type="text/csv",
            headers={"content-disposition": 'attachment; filename="verdicts.csv"'},
        )

    return routes


def _opinion(text: str) -> Opinion:
    try:
        return Opinion(text)
    except ValueError:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "Say whether you agree, disagree or are unsure."
        ) from None


def _moment(text: str) -> float:
    try:
        return moment_of(text)
    except ValueError as exc:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"since: {exc}.") from None
