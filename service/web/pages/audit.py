"""The audit trail, for administrators: as a page with filters, and as CSV."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Final, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from service.audit.codes import AUDIT_TRAIL
from service.audit.entry import all_records, csv_lines
from service.domain.audit import Action, AuditOutcome
from service.domain.user import Permission
from service.storage.ledger import Ledger
from service.storage.ledger.access.audit_trail import AuditFilter
from service.web.access import require
from service.web.problem import Problem
from service.web.render import render, zone
from service.web.trail import Trail

ON_A_PAGE: Final = 100
_LARGEST: Final = 2**63 - 1  # of a number of the ledger

Word = TypeVar("Word", Action, AuditOutcome)
Text = Annotated[str, Query(max_length=64)]


def audit_filter(
    user: Text = "",
    action: Text = "",
    outcome: Text = "",
    job: Text = "",
    patient: Text = "",
    since: Text = "",
    until: Text = "",
) -> AuditFilter:
    """Read a filter from the query; a blank field is no condition, as forms send it.

    Raises:
        Problem: a field cannot be understood.
    """
    return AuditFilter(
        user=_printable(user, "user"),
        action=_one_of(Action, action, "action"),
        outcome=_one_of(AuditOutcome, outcome, "outcome"),
        job_id=_printable(job, "job"),
        patient_id=_printable(patient, "patient"),
        since=_moment(since, "since"),
        until=_moment(until, "until"),
    )


Filter = Annotated[AuditFilter, Depends(audit_filter)]


def router(ledger: Ledger, trail: Trail) -> APIRouter:
    """Build the routes of the audit trail."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.ADMINISTER)])

    @routes.get("/audit")
    def _audit(
        request: Request,
        where: Filter,
        before: Annotated[int | None, Query(ge=1, le=_LARGEST)] = None,
    ) -> Response:
        trail.record(request, Action.VIEW, what=AUDIT_TRAIL)
        records = ledger.audit.recent(ON_A_PAGE + 1, before, where)
        asked = _asked(request)
        shown = records[:ON_A_PAGE]
        values = {
            "records": shown,
            "asked": asked,
            "actions": list(Action),
            "outcomes": list(AuditOutcome),
            "address": urlencode(asked),
            "older": urlencode({**asked, "before": shown[-1].id})
            if len(records) > ON_A_PAGE
            else None,
            "before": before,
            "zone": zone(time.time()),
        }
        return render(request, "audit.html", values)

    @routes.get("/audit.csv")
    def _table(request: Request, where: Filter) -> Response:
        trail.record(request, Action.EXPORT, what=AUDIT_TRAIL, form="csv")
        headers = {"Content-Disposition": 'attachment; filename="audit.csv"'}
        return StreamingResponse(
            _encoded(csv_lines(all_records(ledger, where))),
            media_type="text/csv; charset=utf-8",
            headers=headers,
        )

    return routes


def _encoded(lines: Iterator[str]) -> Iterator[bytes]:
    for line in lines:
        yield line.encode("utf-8", "replace")


def _asked(request: Request) -> dict[str, str]:
    """Return the fields of the filter that were filled in."""
    names = ("user", "action", "outcome", "job", "patient", "since", "until")
    return {name: value for name in names if (value := request.query_params.get(name))}


def _printable(text: str, name: str) -> str | None:
    if not text.isprintable():
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: control characters.")
    return text or None


def _one_of(kind: type[Word], text: str, name: str) -> Word | None:
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        words = ", ".join(kind)
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{name}: one of {words}.") from None


def _moment(text: str, name: str) -> float | None:
    """Read a date or a time in UTC, YYYY-MM-DD or YYYY-MM-DDTHH:MM, as seconds since the epoch."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        sentence = f"{name}: a date as 2026-11-29, or a time as 2026-11-29T14:00."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, sentence) from None
