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
    sentence: str  # for docs/pages.md
    status: int = 200
    only_with_script: tuple[str, ...] = ()  # headings and labels of tools that need one


VIEW, ADMINISTER = Permission.VIEW, Permission.ADMINISTER
VIEWER: Final = (  # shown once the radiograph is drawn, however long that takes
    "Tones Header: window 1 Automatic All values Own",
    "Attention map 35 %",
)

PAGES: Final = (
    PageCase(
        name="worklist",
        route="/",
        path="/",
        title="",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="What was received, with its state, its finding, and its probability against the "
        "operating point and the band in which the model abstains.",
    ),
    PageCase(
        name="found",
        route="/find",
        path="/find?q=2.25.1",
        title="",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="What a search found; where it found nothing, what can be searched for.",
    ),
    PageCase(
        name="job",
        route="/jobs/{job_id}",
        path="/jobs/{present}",
        title="",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="One instance: its prediction, its deliveries with their DIMSE statuses, and its "
        "trace from receipt to delivery.",
        only_with_script=VIEWER,
    ),
    PageCase(
        name="parked",
        route="/jobs/{job_id}",
        path="/jobs/{parked}",
        title="",
        permission=VIEW,
        role=Role.OPERATOR,
        sentence="A job that needs a person, as an operator sees it: the reason, and what can be "
        "done.",
        only_with_script=VIEWER,
    ),
    PageCase(
        name="upload",
        route="/upload",
        path="/upload",
        title="",
        permission=Permission.UPLOAD,
        role=Role.RADIOLOGIST,
        sentence="Sending files without a PACS: what is taken, and what comes back.",
    ),
    PageCase(
        name="status",
        route="/status",
        path="/status",
        title="Status",
        permission=VIEW,
        role=Role.OPERATOR,
        sentence="What flows now, which destinations answer, and what needs a person.",
    ),
    PageCase(
        name="quality",
        route="/quality",
        path="/quality",
        title="Quality",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="Agreement with radiologists, findings over time and drift; the counts of this "
        "picture are made up.",
    ),
    PageCase(
        name="shadow",
        route="/shadow",
        path="/shadow",
        title="Shadow model",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="A second model beside the one that reports: agreement, differences, reports that "
        "would change; the counts of this picture are made up.",
    ),
    PageCase(
        name="model",
        route="/model",
        path="/model",
        title="",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="The model card: what the model is for, how it was made and measured, its limits.",
    ),
    PageCase(
        name="api",
        route="/api",
        path="/api",
        title="API",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="Where a person who programs begins: a token, the addresses, three commands.",
    ),
    PageCase(
        name="audit",
        route="/audit",
        path="/audit",
        title="Audit",
        permission=ADMINISTER,
        role=Role.ADMIN,
        sentence="Who did or saw what, and when.",
    ),
    PageCase(
        name="users",
        route="/users",
        path="/users",
        title="Users",
        permission=ADMINISTER,
        role=Role.ADMIN,
        sentence="The people who may sign in, with their roles.",
    ),
    PageCase(
        name="account",
        route="/account",
        path="/account",
        title="",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        sentence="One's own password, sessions and API tokens.",
    ),
    PageCase(
        name="sign-in",
        route="/sign-in",
        path="/sign-in",
        title="Sign in",
        permission=None,
        role=None,
        sentence="Where everybody begins once there is a user.",
    ),
    PageCase(
        name="problem",
        route="",  # none: what a wrong address shows
        path="/nothing",
        title="There is no such page",
        permission=VIEW,
        role=Role.RADIOLOGIST,
        status=404,
        sentence="What a wrong address, a refusal or an error looks like.",
    ),
)
"""Every page; a new one is added here, and the tests and the pictures take it from here."""
ON_A_PHONE: Final = ("worklist", "job")  # whose picture is taken there too


# what GET answers with something else than a page
NOT_PAGES: Final = frozenset(
    {
        "/health/live",
        "/health/ready",
        "/metrics",
        "/events",
        "/jobs/{job_id}/state",  # followed by its page
        "/status/live",  # a part of /status
        "/upload/results",  # a part of /upload, or where its form leads to
        "/sign-in/openid",  # they lead elsewhere
        "/sign-in/openid/callback",
        "/jobs/{job_id}/radiograph",
        "/jobs/{job_id}/radiograph.json",
        "/jobs/{job_id}/radiograph.png",
        "/jobs/{job_id}/overlay.png",
        "/jobs/{job_id}/outputs/{kind}",
        "/verdicts.csv",
        "/audit.csv",
    }
)
_FOR_PROGRAMS: Final = ("/api/", "/dicom-web/", "/fhir/")


def page(name: str) -> PageCase:
    """Return a page of the table."""
    return next(each for each in PAGES if each.name == name)


def page_routes(app: FastAPI) -> set[str]:
    """Return the routes of an application that answer GET with a page."""
    return {
        str(route.path)
        for route in iter_route_contexts(app.routes)
        if "GET" in (route.methods or ())
        and route.path not in NOT_PAGES
        and not str(route.path).startswith(_FOR_PROGRAMS)
    }
