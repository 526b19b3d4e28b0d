"""Responses to errors and refusals: RFC 9457 problems for programs, a page for people."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from service.domain.reasons import Reason
from service.storage.ledger import LedgerError
from service.web.render import render
from service.web.sign_in.next_page import sign_in_path

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
    """Build the response: JSON for a program, a page for a person.

    A person who must sign in first gets the page for that, where going back to it is possible.
    """
    must_sign_in = problem.status is HTTPStatus.UNAUTHORIZED
    if is_for_program(request):
        response: Response = JSONResponse(
            problem.members(), int(problem.status), media_type=MEDIA_TYPE
        )
    elif must_sign_in and "hx-request" in request.headers:  # part of a page: replace all of it
        response = Response(status_code=int(problem.status), headers={"HX-Redirect": "/sign-in"})
    elif must_sign_in and request.method == "GET":
        response = RedirectResponse(sign_in_path(request), HTTPStatus.SEE_OTHER)
    else:
        response = render(request, "problem.html", {"problem": problem}, int(problem.status))
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if response.status_code == HTTPStatus.UNAUTHORIZED:  # RFC 9110 11.6.1, RFC 6750 3
        response.headers["WWW-Authenticate"] = 'Bearer realm="lobar"'
    return response


def is_for_program(request: Request) -> bool:
    """Return whether a program sent the request: by its path, its token, or what it accepts."""
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return True
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
