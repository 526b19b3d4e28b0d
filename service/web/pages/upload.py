"""Upload files from a browser, and show what comes of each."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from service.domain.job import Receipt
from service.domain.user import Identity, Permission
from service.settings import Settings
from service.storage.ledger import Ledger
from service.web.access import require
from service.web.problem import Problem
from service.web.render import render
from service.web.uploading.multipart import MOST_FILES
from service.web.uploading.recording import RecordedUploads
from service.web.uploading.results import (
    UNKNOWN_JOB,
    RecentUploads,
    Result,
    Row,
    result_of,
    result_of_problem,
)
from service.web.uploading.uploads import Uploaded

MOST_FOLLOWED: Final = 100  # jobs in one request of the script
SCRIPT_HEADER: Final = "x-lobar-script"  # sent by upload.js, which shows the result in its page
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")


def router(settings: Settings, ledger: Ledger, uploads: RecordedUploads) -> APIRouter:
    """Build the routes of the upload."""
    routes = APIRouter(include_in_schema=False)
    recent = RecentUploads()
    may_upload = require(Permission.UPLOAD)

    @routes.get("/upload", dependencies=[may_upload])
    def _page(request: Request) -> Response:
        values = {
            "web": settings.web,
            "most_files": MOST_FILES,
            "has_destinations": settings.routes.has_destinations,
        }
        return render(request, "upload.html", values)

    @routes.post("/upload")
    async def _upload(request: Request, identity: Annotated[Identity, may_upload]) -> Response:
        by_script = SCRIPT_HEADER in request.headers
        try:
            outcomes = await uploads.receive(request)
        except Problem as problem:
            if not by_script:
                raise
            outcomes = [Uploaded(name="", result=problem)]
        if by_script:  # always 200: a browser reports any other in its console
            values = await to_thread.run_sync(_values, ledger, outcomes)
            return render(request, "upload_results.html", values)
        token = recent.keep(identity.name, outcomes)
        return RedirectResponse(f"/upload/results?upload={token}", HTTPStatus.SEE_OTHER)

    @routes.get("/upload/results")
    def _results(
        request: Request,
        identity: Annotated[Identity, may_upload],
        upload: Annotated[str, Query(max_length=64)] = "",
        job: Annotated[tuple[str, ...], Query(max_length=MOST_FOLLOWED)] = (),
    ) -> Response:
        if not upload:
            return render(request, "upload_results.html", _values_of_jobs(ledger, job))
        outcomes = recent.find(identity.name, upload)
        if outcomes is None:
            raise Problem(
                HTTPStatus.NOT_FOUND,
                "The names of these files are not kept any more; their jobs are in the list.",
            )
        again = f"/upload/results?upload={upload}&by-itself=1"
        return render(request, "uploaded.html", {**_values(ledger, outcomes), "again": again})

    return routes


def _values(ledger: Ledger, outcomes: Sequence[Uploaded]) -> dict[str, Any]:
    """Return what the results of an upload show; the same job twice is shown twice."""
    receipts = [each.result for each in outcomes if isinstance(each.result, Receipt)]
    jobs = _results_of_jobs(ledger, [each.job_id for each in receipts])
    rows = [_row(each, jobs) for each in outcomes]
    return {
        "rows": rows,
        "received": len(receipts),
        "refused": len(outcomes) - len(receipts),
        "is_final": all(each.result.is_final for each in rows),
    }


def _row(outcome: Uploaded, jobs: Mapping[str, Result]) -> Row:
    if isinstance(outcome.result, Problem):
        return Row(name=outcome.name, result=result_of_problem(outcome.result))
    job_id = outcome.result.job_id
    return Row(
        name=outcome.name,
        result=jobs[job_id],
        job_id=job_id,
        repeated=outcome.result.repeated,
    )


def _values_of_jobs(ledger: Ledger, job_ids: Iterable[str]) -> dict[str, Any]:
    wanted = [each for each in dict.fromkeys(job_ids) if _JOB_ID.fullmatch(each)]
    found = _results_of_jobs(ledger, wanted)
    return {"rows": [Row(name="", result=found[each], job_id=each) for each in wanted]}


def _results_of_jobs(ledger: Ledger, job_ids: Sequence[str]) -> dict[str, Result]:
    found = {each.id: result_of(each) for each in ledger.flow.jobs(job_ids)}
    return {job_id: found.get(job_id, UNKNOWN_JOB) for job_id in job_ids}
