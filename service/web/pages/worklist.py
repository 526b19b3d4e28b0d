"""The worklist: what was received, whose it is and what was found, live; and the search."""

import re
import time
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from service.audit.codes import WORKLIST
from service.domain.audit import Action
from service.domain.user import Identity, Permission
from service.storage.ledger import JobCounts, Ledger
from service.storage.ledger.reading.worklist import (
    ON_A_PAGE,
    InvalidCursorError,
    Order,
    WorklistFilter,
    WorklistPage,
)
from service.web.access import require
from service.web.pages.worklist_query import (
    JUDGED_WORDS,
    ORDER_WORDS,
    PERIOD_WORDS,
    Finding,
    WorklistQuery,
)
from service.web.problem import Problem
from service.web.render import STATE_WORDS, render, zone
from service.web.sign_in.forwarded import client_address
from service.web.trail import Recent, Trail

__all__ = ["ON_A_PAGE", "router"]

_RECENT_SECONDS: Final = 900.0
_MOST_RECENT: Final = 1000
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")


def router(ledger: Ledger, trail: Trail) -> APIRouter:
    """Build the routes of the worklist and of the search."""
    routes = APIRouter(include_in_schema=False, dependencies=[require(Permission.VIEW)])
    counts = _Counts(ledger)
    looks = _Looks(trail)

    @routes.get("/")
    def _worklist(request: Request) -> Response:
        """Show the worklist, or, for the page's script, the part of it that changes."""
        identity: Identity = request.state.identity
        query = WorklistQuery.of(request.query_params)
        revision = ledger.worklist.revision()  # first: what comes after it is shown at once
        page = _page(ledger, query.filter(with_patients=identity.may(Permission.PATIENT)))
        is_fragment = "HX-Request" in request.headers
        if query.q:
            looks.record_search(request, query.q, page, again=is_fragment)
        elif identity.may(Permission.PATIENT):
            looks.record_list(request)
        values = {
            "query": query,
            "page": page,
            "revision": revision,
            "q": query.q,
            "zone": zone(time.time()),
            "chips": list(query.chips(STATE_WORDS)),
            "job_counts": counts.at(revision),
            "period_words": PERIOD_WORDS,
            "order_words": ORDER_WORDS,
        }
        if is_fragment:
            return render(request, "worklist_rows.html", values)
        return render(request, "worklist.html", {**values, **_choices(ledger)})

    @routes.get("/find")
    def _find(request: Request) -> Response:
        identity: Identity = request.state.identity
        query = WorklistQuery.of(request.query_params)
        if not query.q:
            return RedirectResponse("/", HTTPStatus.SEE_OTHER)
        wanted = WorklistFilter(text=query.q, with_patients=identity.may(Permission.PATIENT))
        page = ledger.worklist.page(wanted, limit=1)
        if len(page.rows) != 1 or page.following is not None:
            address = WorklistQuery(q=query.q).address()
            return RedirectResponse(address, HTTPStatus.SEE_OTHER)  # which records the search
        looks.record_search(request, query.q, page)
        return RedirectResponse(f"/jobs/{page.rows[0].job.id}", HTTPStatus.SEE_OTHER)

    return routes


def _page(ledger: Ledger, wanted: WorklistFilter) -> WorklistPage:
    try:
        return ledger.worklist.page(wanted)
    except InvalidCursorError as exc:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "There is no such page of the list: begin at the first.",
        ) from exc


def _choices(ledger: Ledger) -> dict[str, Any]:
    return {
        "findings": list(Finding),
        "ae_titles": ledger.worklist.calling_ae_titles(),
        "judged_words": JUDGED_WORDS,
        "orders": list(Order),
    }


class _Counts:
    """Counts the jobs by state once for each revision of the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: tuple[str, JobCounts] | None = None

    def at(self, revision: str) -> JobCounts:
        """Return the counts at a revision, or at a later one."""
        known = self._known
        if known is None or known[0] != revision:
            known = self._known = (revision, self._ledger.queries.job_counts())
        return known[1]


class _Looks:
    """Records searches and the list, and a page that repeats itself only now and then."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail
        self._recent = Recent(_RECENT_SECONDS, _MOST_RECENT)

    def record_list(self, request: Request) -> None:
        """Record that a person sees the list with its patients, once in a while."""
        identity: Identity = request.state.identity
        key = (identity.name,)
        if self._recent.has(key):
            return
        self._trail.record(request, Action.VIEW, what=WORKLIST)
        self._recent.add(key)

    def record_search(
        self, request: Request, text: str, page: WorklistPage, *, again: bool = False
    ) -> None:
        """Record a search.

        Args:
            request: of whom.
            text: what was searched for; it is recorded only if it is a UID.
            page: what was found.
            again: whether a script repeats it to keep its page up to date; such a one is recorded
                only if the same person did not search for the same a few minutes ago.
        """
        identity: Identity = request.state.identity
        key = (identity.name, client_address(request), text)
        if again and self._recent.has(key):
            return
        self._trail.record(
            request,
            Action.SEARCH,
            matched=",".join(page.matched) or "nothing",
            found=len(page.rows),
            more=page.following is not None,
            uid=text if _UID.fullmatch(text) else None,
        )
        self._recent.add(key)
