"""The pages of the web server: what they are called, who sees them, where they are."""

from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from service.domain.user import Permission, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCase:
    """One page of the table."""

    name: str  # of its pictures
    route: str  # as the application writes it
    path: str  # to open; {present}, {absent} and {parked} are ids of jobs
    title: str  # the beginning of its first heading
    permission: Permission | None  # None: anybody
    role: Role | None  # who looks at it in the tests
    status: int = 200
    only_with_script: tuple[str, ...] = ()  # headings and labels of tools that need one


VIEW, ADMINISTER = Permission.VIEW, Permission.ADMINISTER

# a page is added with one line
PAGES: Final = tuple(
    PageCase(name=name, route=route, path=path, title=title, permission=needs, role=role)
    for name, route, path, title, needs, role in (
        ("worklist", "/", "/", "", VIEW, Role.RADIOLOGIST),
        ("found", "/find", "/find?q=2.25.1", "", VIEW, Role.RADIOLOGIST),
        ("job", "/jobs/{job_id}", "/jobs/{present}", "", VIEW, Role.RADIOLOGIST),
        ("parked", "/jobs/{job_id}", "/jobs/{parked}", "", VIEW, Role.OPERATOR),
        ("upload", "/upload", "/upload", "", Permission.UPLOAD, Role.RADIOLOGIST),
        ("status", "/status", "/status", "Status", VIEW, Role.OPERATOR),
        ("quality", "/quality", "/quality", "Quality", VIEW, Role.RADIOLOGIST),
        ("audit", "/audit", "/audit", "Audit", ADMINISTER, Role.ADMIN),
        ("users", "/users", "/users", "Users", ADMINISTER, Role.ADMIN),
        ("account", "/account", "/account", "", VIEW, Role.RADIOLOGIST),
        ("sign-in", "/sign-in", "/sign-in", "Sign in", None, None),
    )
)
# no route: what a wrong address shows
PROBLEM: Final = PageCase(
    name="problem",
    route="",
    path="/nothing",
    title="Not Found",
    permission=None,
    role=Role.RADIOLOGIST,
    status=404,
)

# what GET answers with something else than a page
NOT_PAGES: Final = frozenset(
    {
        "/health/live",
        "/health/ready",
        "/metrics",
        "/events",
        "/jobs/{job_id}/radiograph",
        "/jobs/{job_id}/radiograph.png",
        "/jobs/{job_id}/overlay.png",
        "/jobs/{job_id}/outputs/{kind}",
        "/verdicts.csv",
        "/audit.csv",
    }
)
_FOR_PROGRAMS: Final = ("/api/", "/dicom-web/")


def page_routes(app: FastAPI) -> set[str]:
    """Return the routes of an application that answer GET with a page."""
    return {
        str(route.path)
        for route in iter_route_contexts(app.routes)
        if "GET" in (route.methods or ())
        and route.path not in NOT_PAGES
        and not str(route.path).startswith(_FOR_PROGRAMS)
    }
