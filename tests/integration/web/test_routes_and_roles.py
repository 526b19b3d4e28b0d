"""Every route of the web server against every kind of sender.

`REQUIRED` has the permission of each route. A new route is added here by the line that the failure
prints; what each sender gets from it is tested without further lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Mount
from support.web_server import Web

from service.domain.user import OPEN_PERMISSIONS, PERMISSIONS, Permission, Role
from service.web.access import Requirement

REQUIRED: Final[dict[str, Permission]] = {
    "GET /": Permission.VIEW,
    "GET /account": Permission.VIEW,
    "POST /account/password": Permission.VIEW,
    "POST /account/tokens": Permission.VIEW,
    "POST /account/tokens/{token_id}/revoke": Permission.VIEW,
    "POST /api/instances": Permission.UPLOAD,
    "GET /api/jobs": Permission.VIEW,
    "GET /api/jobs/{job_id}": Permission.VIEW,
    "GET /api/v1/audit": Permission.ADMINISTER,
    "POST /api/v1/instances": Permission.UPLOAD,
    "GET /api/v1/jobs": Permission.VIEW,
    "GET /api/v1/jobs/{job_id}": Permission.VIEW,
    "POST /api/v1/jobs/{job_id}/dismiss": Permission.OPERATE,
    "GET /api/v1/jobs/{job_id}/outputs/{kind}": Permission.PATIENT,
    "POST /api/v1/jobs/{job_id}/reanalyse": Permission.OPERATE,
    "POST /api/v1/jobs/{job_id}/requeue": Permission.OPERATE,
    "GET /api/v1/jobs/{job_id}/verdicts": Permission.PATIENT,
    "POST /api/v1/jobs/{job_id}/verdicts": Permission.VERDICT,
    "GET /api/v1/me": Permission.VIEW,
    "GET /api/v1/status": Permission.VIEW,
    "GET /audit": Permission.ADMINISTER,
    "GET /audit.csv": Permission.ADMINISTER,
    "GET /dicom-web/instances": Permission.PATIENT,
    "GET /dicom-web/series": Permission.PATIENT,
    "GET /dicom-web/studies": Permission.PATIENT,
    "POST /dicom-web/studies": Permission.UPLOAD,
    "GET /dicom-web/studies/{study}": Permission.PATIENT,
    "POST /dicom-web/studies/{study}": Permission.UPLOAD,
    "GET /dicom-web/studies/{study}/instances": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/metadata": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series/{series}": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series/{series}/instances": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series/{series}/instances/{instance}": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series/{series}/instances/{instance}/bulkdata"
    "/00420011": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series/{series}/instances/{instance}/frames"
    "/{frames}": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series/{series}/instances/{instance}"
    "/metadata": Permission.PATIENT,
    "GET /dicom-web/studies/{study}/series/{series}/metadata": Permission.PATIENT,
    "GET /api": Permission.VIEW,
    "GET /events": Permission.VIEW,
    "GET /fhir/DiagnosticReport": Permission.PATIENT,
    "GET /fhir/DiagnosticReport/{job_id}": Permission.PATIENT,
    "GET /fhir/Observation/{resource_id}": Permission.PATIENT,
    "GET /fhir/metadata": Permission.VIEW,
    "GET /find": Permission.VIEW,
    "GET /jobs/{job_id}": Permission.VIEW,
    "POST /jobs/{job_id}/dismiss": Permission.OPERATE,
    "GET /jobs/{job_id}/outputs/{kind}": Permission.PATIENT,
    "GET /jobs/{job_id}/overlay.png": Permission.PATIENT,
    "GET /jobs/{job_id}/radiograph": Permission.PATIENT,
    "GET /jobs/{job_id}/radiograph.json": Permission.PATIENT,
    "GET /jobs/{job_id}/radiograph.png": Permission.PATIENT,
    "POST /jobs/{job_id}/reanalyse": Permission.OPERATE,
    "POST /jobs/{job_id}/requeue": Permission.OPERATE,
    "GET /jobs/{job_id}/state": Permission.VIEW,
    "POST /jobs/{job_id}/verdict": Permission.VERDICT,
    "GET /model": Permission.VIEW,
    "GET /quality": Permission.VIEW,
    "GET /shadow": Permission.VIEW,
    "POST /sign-out": Permission.VIEW,
    "GET /status": Permission.VIEW,
    "POST /status/dismiss": Permission.OPERATE,
    "GET /status/live": Permission.VIEW,
    "POST /status/requeue": Permission.OPERATE,
    "GET /upload": Permission.UPLOAD,
    "POST /upload": Permission.UPLOAD,
    "GET /upload/results": Permission.UPLOAD,
    "GET /users": Permission.ADMINISTER,
    "POST /users": Permission.ADMINISTER,
    "POST /users/{name}/disable": Permission.ADMINISTER,
    "POST /users/{name}/enable": Permission.ADMINISTER,
    "POST /users/{name}/end-sessions": Permission.ADMINISTER,
    "POST /users/{name}/password": Permission.ADMINISTER,
    "POST /users/{name}/revoke-tokens": Permission.ADMINISTER,
    "POST /users/{name}/role": Permission.ADMINISTER,
    "GET /verdicts.csv": Permission.EXPORT,
}
FOR_PEOPLE: Final = ("/account", "/users", "/sign-out")  # a token can use none of these
PUBLIC: Final = {
    "GET /api/openapi.json",  # says nothing that the source does not
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /sign-in",
    "POST /sign-in",
    "GET /sign-in/openid",
    "GET /sign-in/openid/callback",
    "GET /static",
}


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    requirement: Requirement | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def address(self) -> str:
        """Return an address of the route, of something that is not there."""
        parts = ("0" * 32 if part.startswith("{") else part for part in self.path.split("/"))
        return "/".join(parts)


def requirement_of(dependant: Dependant) -> Requirement | None:
    found = [each.call for each in dependant.dependencies if isinstance(each.call, Requirement)]
    inner = [requirement_of(each) for each in dependant.dependencies]
    every = [*found, *(each for each in inner if each is not None)]
    assert len(every) <= 1, "a route has one requirement"
    return every[0] if every else None


def routes_of(app: Any) -> Iterator[Route]:  # noqa: ANN401 -- ASGI applications, one in the other
    while not isinstance(app, FastAPI):
        app = app._app
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, Mount):
            yield Route("GET", str(context.path), None)
            continue
        dependant = context.dependant if isinstance(context.original_route, APIRoute) else None
        for method in sorted((context.methods or set()) - {"HEAD"}):
            requirement = requirement_of(dependant) if dependant else None
            yield Route(method, str(context.path), requirement)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    folder: Path = tmp_path_factory.mktemp("routes")
    with Web(folder / "state").running() as running:
        yield running


def status_of(client: httpx.Client, route: Route) -> str:
    """Return the status of a request; a stream is not waited for, a redirection is named."""
    with client.stream(route.method, route.address()) as response:
        where = response.headers.get("location", "")
        return "sign-in" if where.startswith("/sign-in") else str(response.status_code)


def outcome(route: Route, status: str) -> str:
    """Return what a status says about a route: not known, not permitted, or let through."""
    if status == "401" or (status == "sign-in" and str(route) != "POST /sign-out"):
        return "not known"
    if status == "403":
        return "not permitted"
    assert not status.startswith("5"), f"{route}: {status}"
    return "let through"


def test_every_route_has_its_permission_or_is_public(web: Web) -> None:
    in_code = {
        str(route): route.requirement.permission
        for route in routes_of(web.app)
        if route.requirement is not None
    }
    public = {str(route) for route in routes_of(web.app) if route.requirement is None}
    assert public == PUBLIC, "a route without require(...) is open to everybody"
    missing = {route: in_code[route] for route in in_code.keys() - REQUIRED.keys()}
    lines = "\n".join(f'    "{name}": Permission.{missing[name].name},' for name in sorted(missing))
    assert not missing, f"add to REQUIRED, if it is right:\n{lines}"
    assert in_code == REQUIRED


def test_routes_for_people_are_those_of_accounts(web: Web) -> None:
    for route in routes_of(web.app):
        if route.requirement is not None:
            assert route.requirement.person is route.path.startswith(FOR_PEOPLE), route


def test_without_users_the_open_routes_are_open_and_no_others(web: Web) -> None:
    assert not web.ledger.users.are_there(), "this test comes before those that make users"
    for route in routes_of(web.app):
        if route.requirement is None:
            continue
        may = route.requirement.permission in OPEN_PERMISSIONS and not route.requirement.person
        found = outcome(route, status_of(web.client, route))
        assert found == ("let through" if may else "not permitted"), route


@pytest.mark.parametrize("role", Role)
def test_a_role_gets_what_is_its_and_nothing_else(web: Web, role: Role) -> None:
    for route in routes_of(web.app):
        if route.requirement is None:
            continue
        client = web.sign_in(role)  # a session of its own: some routes end it
        may = route.requirement.permission in PERMISSIONS[role]
        status = status_of(client, route)
        assert outcome(route, status) == ("let through" if may else "not permitted"), (
            f"{route}: {status}"
        )


def test_who_has_not_signed_in_gets_nothing_but_the_page_for_it(web: Web) -> None:
    web.sign_in(Role.ADMIN)
    for route in routes_of(web.app):
        if route.requirement is None:
            continue
        status = status_of(web.client, route)
        for_programs = ("/api/", "/dicom-web/", "/fhir/")
        is_page = route.method == "GET" and not route.path.startswith(for_programs)
        assert status == ("sign-in" if is_page else "401"), f"{route}: {status}"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("scope", [None, *Permission])
def test_a_token_may_what_both_its_scopes_and_its_users_role_allow(
    web: Web, role: Role, scope: Permission | None
) -> None:
    web.sign_in(role)
    scopes = set(Permission) if scope is None else {scope}
    _, token = web.ledger.api_tokens.add(str(role), label="a test", scopes=scopes)
    program = web.program(token)
    for route in routes_of(web.app):
        if route.requirement is None:
            continue
        allowed = PERMISSIONS[role] & scopes
        may = route.requirement.permission in allowed and not route.requirement.person
        status = status_of(program, route)
        assert outcome(route, status) == ("let through" if may else "not permitted"), (
            f"{route}: {status}"
        )
    web.ledger.api_tokens.revoke_all(str(role))
