"""A radiologist's verdict on a report, and all verdicts as a table."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from service.domain.audit import Action
from service.domain.job import Job
from service.domain.user import Identity, Permission
from service.domain.verdict import LONGEST_COMMENT, Opinion
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.form import Fields, return_to, written_text
from service.web.lookup import known_job
from service.web.pages.instance import JobPage
from service.web.problem import Problem, is_for_program
from service.web.trail import Trail
from service.web.verdicts.recording import VerdictRecorder
from service.web.verdicts.table import csv_lines, moment_of

_CORRECTABLE: Final = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT})
"""A verdict refused with these is shown again in its form."""


def router(ledger: Ledger, trail: Trail, show: JobPage) -> APIRouter:
    """Build the routes of verdicts."""
    routes = APIRouter(include_in_schema=False)
    recorder = VerdictRecorder(ledger, trail)

    @routes.post("/jobs/{job_id}/verdict", dependencies=[require(Permission.VERDICT)])
    def _judge(request: Request, job_id: str, fields: Fields) -> Response:
        job = known_job(ledger, job_id)
        try:
            _record(recorder, request, job, fields)
        except Problem as problem:
            if problem.status not in _CORRECTABLE or is_for_program(request):
                raise
            # the job anew: another report may have come since
            refused = {"refused": _refused(problem, fields)}
            return show(request, known_job(ledger, job_id), refused, problem.status)
        return return_to(fields, f"/jobs/{job_id}?done=judged#verdict")

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


def _record(
    recorder: VerdictRecorder, request: Request, job: Job, fields: Mapping[str, str]
) -> None:
    opinion = _opinion(fields.get("opinion", ""))
    # one who disagreed first and then chose otherwise has left the select as it was
    right_finding = fields.get("right_finding") if opinion is Opinion.DISAGREE else None
    recorder.record(
        request,
        job,
        report_uid=fields.get("report_uid", ""),
        opinion=opinion,
        right_finding=right_finding or None,
        comment=written_text(fields, "comment", longest=LONGEST_COMMENT),
    )


def _refused(problem: Problem, fields: Mapping[str, str]) -> dict[str, Any]:
    """Return why a verdict was refused, and what the form shows again.

    What was thought of a report that was replaced is not put before the finding of the new one.
    """
    is_of_this_report = problem.status is not HTTPStatus.CONFLICT
    return {
        "sentence": problem.detail,
        "opinion": fields.get("opinion", "") if is_of_this_report else "",
        "right_finding": fields.get("right_finding", "") if is_of_this_report else "",
        "comment": fields.get("comment", ""),
    }


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
