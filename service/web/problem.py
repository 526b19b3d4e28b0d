"""Responses to errors and refusals: RFC 9457 problems for programs, a page for people."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.domain.reasons import Reason
from service.domain.user import SignedInBy
from service.storage.ledger import LedgerError
from service.web.fhir.outcome import FHIR_JSON, operation_outcome
from service.web.problem_words import faults_in_words, sentence, title
from service.web.render import render
from service.web.sign_in.next_page import sign_in_path

MEDIA_TYPE: Final = "application/problem+json"
_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
_FHIR: Final = "/fhir/"
_FOR_PROGRAMS: Final = ("/api/", "/dicom-web/", _FHIR, "/health/", "/metrics")


class Problem(Exception):  # noqa: N818 -- RFC 9457 calls it so
    """An error response: a status, one sentence for a person, and a coded reason if any."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        reason: Reason | None = None,
        *,
        retry_after: int | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        for_person: str = "",
    ) -> None:
        super().__init__(detail)
        self.for_person = for_person or detail  # what a page says in place of the detail
        self.status = status
        self.detail = detail
        self.reason = reason
        self.retry_after = retry_after  # seconds, RFC 9110, section 10.2.3
        self.errors = errors  # of a request that is not valid: each fault, and where it is

    def members(self) -> dict[str, Any]:
        """Return the members of RFC 9457, section 3.1, and `reason` and `errors` if any."""
        members: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
        }
        if self.reason is not None:
            members["reason"] = str(self.reason)
        if self.errors:
            members["errors"] = [dict(each) for each in self.errors]
        return members


def not_found(what: str) -> Problem:
    """Build the 404 problem for a missing `what`."""
    return Problem(HTTPStatus.NOT_FOUND, f"There is no such {what}.")


def problem_response(request: Request, problem: Problem) -> Response:
    """Build the response: JSON for a program, a page for a person.

    A person who must sign in first gets the page for that, where going back to it is possible.
    """
    must_sign_in = problem.status is HTTPStatus.UNAUTHORIZED
    if str(request.scope["path"]).startswith(_FHIR):
        response: Response = JSONResponse(
            operation_outcome(problem.status, problem.detail),
            int(problem.status),
            media_type=FHIR_JSON,
        )
    elif is_for_program(request):
        response = JSONResponse(problem.members(), int(problem.status), media_type=MEDIA_TYPE)
    elif must_sign_in and "hx-request" in request.headers:  # part of a page: replace all of it
        response = Response(status_code=int(problem.status), headers={"HX-Redirect": "/sign-in"})
    elif must_sign_in and request.method == "GET":
        response = RedirectResponse(sign_in_path(request), HTTPStatus.SEE_OTHER)
    else:
        response = render(
            request, "problem.html", _page_values(request, problem), int(problem.status)
        )
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    if response.status_code == HTTPStatus.UNAUTHORIZED:  # RFC 9110 11.6.1, RFC 6750 3
        response.headers["WWW-Authenticate"] = 'Bearer realm="lobar"'
    return response


def _page_values(request: Request, problem: Problem) -> dict[str, Any]:
    identity = getattr(request.state, "identity", None)
    is_open = identity is not None and identity.signed_in_by is SignedInBy.OPEN
    return {
        "problem": problem,
        "title": title(problem.status),
        "sentence": sentence(problem.for_person, problem.status),
        "may_sign_in": is_open and problem.status is HTTPStatus.FORBIDDEN,
    }


def is_for_program(request: Request) -> bool:
    """Return whether a program sent the request: by its path, its token, or what it accepts."""
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return True
    if MEDIA_TYPE in request.headers.get("accept", ""):
        return True
    path = str(request.scope["path"])
    return path.startswith(_FOR_PROGRAMS) or path == "/dicom-web"


def invalid(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """Build the 422 problem for the faults that pydantic found in a request.

    Each names where it is: a JSON pointer (RFC 6901) in the body, or a parameter.
    """
    detail = "; ".join(f"{_place(fault)}: {fault['msg']}" for fault in faults)
    errors = [_error(fault["loc"], str(fault["msg"])) for fault in faults]
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors, for_person=faults_in_words(faults)
    )


def _place(fault: Mapping[str, Any]) -> str:
    return str(fault["loc"][-1]) if fault["loc"] else "body"


def _error(place: Sequence[str | int], detail: str) -> Mapping[str, str]:
    kind, *inner = place or ("body",)
    if kind in {"query", "path", "header", "cookie"}:
        return {"detail": detail, "parameter": ".".join(map(str, inner))}
    steps = [str(each).replace("~", "~0").replace("/", "~1") for each in inner]
    return {"detail": detail, "pointer": "".join(f"/{step}" for step in steps)}


def _allowed(request: Request) -> str:
    """List the methods of a path, of all its routes: Starlette lists those of the first alone."""
    routes = request.app.router.routes
    matching = (
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    )
    return ", ".join(matching)


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every error and refusal into a problem response, wherever it is raised."""

    @app.exception_handler(Problem)
    def _(request: Request, exc: Problem) -> Response:
        return problem_response(request, exc)

    @app.exception_handler(HTTPException)
    def _(request: Request, exc: HTTPException) -> Response:
        response = problem_response(request, Problem(HTTPStatus(exc.status_code), str(exc.detail)))
        response.headers.update(exc.headers or {})
        if exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = _allowed(request)
        return response

    @app.exception_handler(RequestValidationError)
    def _(request: Request, exc: RequestValidationError) -> Response:
        return problem_response(request, invalid(exc.errors()))

    @app.exception_handler(LedgerError)
    def _(request: Request, _exc: LedgerError) -> Response:
        return problem_response(
            request, Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The ledger does not answer.")
        )

    @app.exception_handler(Exception)
    def _(request: Request, _exc: Exception) -> Response:
        sentence = "An unexpected error in Lobar; the log has the event."
        return problem_response(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, sentence))
