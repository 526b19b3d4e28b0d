"""Responses to errors and refusals: RFC 9457 problems for programs, a page for people."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from service.domain.reasons import Reason
from service.storage.ledger import LedgerError
from service.web.render import render

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 -- RFC 9457 calls it so
    """An error response: a status, one sentence for a person, and a coded reason if any."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        reason: Reason | None = None,
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason
        self.retry_after = retry_after  # seconds, RFC 9110, section 10.2.3

    def members(self) -> dict[str, Any]:
        """Return the members of RFC 9457, section 3.1, and `reason`."""
        members = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
        }
        return members if self.reason is None else {**members, "reason": str(self.reason)}


def not_found(what: str) -> Problem:
    """Build the 404 problem for a missing `what`."""
    return Problem(HTTPStatus.NOT_FOUND, f"There is no such {what}.")


def problem_response(request: Request, problem: Problem) -> Response:
    """Build the response: JSON for a program, a page for a person."""
    if is_for_program(request):
        response: Response = JSONResponse(
            problem.members(), int(problem.status), media_type=MEDIA_TYPE
        )
    else:
        response = render(request, "problem.html", {"problem": problem}, int(problem.status))
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


def is_for_program(request: Request) -> bool:
    """Return whether the path is one that programs use, or the sender asks for such a problem."""
    asks = MEDIA_TYPE in request.headers.get("accept", "")
    return asks or str(request.scope["path"]).startswith(("/api/", "/health/", "/metrics"))


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every error and refusal into a problem response, wherever it is raised."""

    @app.exception_handler(Problem)
    def _(request: Request, exc: Problem) -> Response:
        return problem_response(request, exc)

    @app.exception_handler(HTTPException)
    def _(request: Request, exc: HTTPException) -> Response:
        response = problem_response(request, Problem(HTTPStatus(exc.status_code), str(exc.detail)))
        response.headers.update(exc.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    def _(request: Request, exc: RequestValidationError) -> Response:
        faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in exc.errors())
        return problem_response(request, Problem(HTTPStatus.UNPROCESSABLE_ENTITY, faults))

    @app.exception_handler(LedgerError)
    def _(request: Request, _exc: LedgerError) -> Response:
        return problem_response(
            request, Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The ledger does not answer.")
        )

    @app.exception_handler(Exception)
    def _(request: Request, _exc: Exception) -> Response:
        sentence = "An unexpected error in Lobar; the log has the event."
        return problem_response(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, sentence))
