"""What is answered when something is refused: RFC 9457 for programs, one page for people."""

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
    """A refusal: a status, one sentence for a person, and a coded reason where there is one."""

    def __init__(self, status: HTTPStatus, detail: str, reason: Reason | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason

    def members(self) -> dict[str, Any]:
        """Give the members of RFC 9457, section 3.1, and `reason`."""
        members = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
        }
        return members if self.reason is None else {**members, "reason": str(self.reason)}


def not_found(what: str) -> Problem:
    """Refuse to show what is not there."""
    return Problem(HTTPStatus.NOT_FOUND, f"There is no such {what}.")


def answer(request: Request, problem: Problem) -> Response:
    """Answer a program with JSON, and a person, who reads pages, with a page."""
    if is_for_program(request):
        return JSONResponse(problem.members(), int(problem.status), media_type=MEDIA_TYPE)
    return render(request, "problem.html", {"problem": problem}, int(problem.status))


def is_for_program(request: Request) -> bool:
    """Tell whether a path is one that programs ask for."""
    return str(request.scope["path"]).startswith(("/api/", "/health/", "/metrics"))


def answer_with_problems(app: FastAPI) -> None:
    """Have every refusal answered as a problem, whoever raises it."""

    @app.exception_handler(Problem)
    def _(request: Request, exc: Problem) -> Response:
        return answer(request, exc)

    @app.exception_handler(HTTPException)
    def _(request: Request, exc: HTTPException) -> Response:
        response = answer(request, Problem(HTTPStatus(exc.status_code), str(exc.detail)))
        response.headers.update(exc.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    def _(request: Request, exc: RequestValidationError) -> Response:
        faults = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in exc.errors())
        return answer(request, Problem(HTTPStatus.UNPROCESSABLE_ENTITY, faults))

    @app.exception_handler(LedgerError)
    def _(request: Request, _exc: LedgerError) -> Response:
        return answer(
            request, Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The ledger does not answer.")
        )

    @app.exception_handler(Exception)
    def _(request: Request, _exc: Exception) -> Response:
        sentence = "An unexpected error in Lobar; the log has the event."
        return answer(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, sentence))
