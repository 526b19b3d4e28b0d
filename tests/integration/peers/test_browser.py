"""The browser notes what is wrong with a page, and axe-core finds what is not accessible."""

from collections.abc import Callable, Iterator

import pytest
from peers.browser import Look, Notes, looking
from peers.web_service import Request, Response, WebService
from playwright.sync_api import Browser, Page
from support.accessibility import violations
from support.system.ports import LOOPBACK, free_port

POLICY = "default-src 'self'; script-src 'self'"
Show = Callable[..., tuple[Page, Notes]]


def document(main: str) -> str:
    return (
        "<!doctype html><html lang=en><head><title>t</title>"
        '<link rel="icon" href="data:,"></head>'
        f"<body><main><h1>Title</h1>{main}</main></body></html>"
    )


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """`show(main, policy="")` opens a page with this content in front of a real server."""
    content: dict[str, bytes] = {}
    headers = {"content-type": "text/html"}

    def answer(request: Request) -> Response | None:
        if request.path != "/":
            return Response(404)
        return Response(200, content["main"], dict(headers))

    with WebService(answer).running() as service, looking(browser, Look()) as context:

        def _show(main: str, policy: str = "") -> tuple[Page, Notes]:
            content["main"] = document(main).encode()
            if policy:
                headers["content-security-policy"] = policy
            page = context.new_page()
            notes = Notes(page, service.url)
            page.goto(f"{service.url}/", wait_until="networkidle")
            return page, notes

        yield _show


def test_nothing_is_noted_about_a_page_that_is_as_it_should_be(show: Show) -> None:
    page, notes = show("<p>Words</p>", POLICY.replace("default-src 'self'", "default-src data:"))
    assert (notes.complaints, notes.asked_elsewhere) == ([], [])
    assert violations(page) == []


@pytest.mark.parametrize(
    ("main", "policy", "noted"),
    [
        ("<script>let a = 1;</script>", POLICY, "Content Security Policy"),
        ("<p style='color: red'>x</p>", POLICY, "Content Security Policy"),
        ("<script>console.error('bad')</script>", "", "bad"),
        ("<script>nowhere()</script>", "", "nowhere is not defined"),
        ("<script src=/missing.js></script>", "", "404 http://"),
    ],
)
def test_what_goes_wrong_is_noted(show: Show, main: str, policy: str, noted: str) -> None:
    _, notes = show(main, policy)
    assert any(noted in each for each in notes.complaints), notes.complaints


def test_requests_of_other_servers_are_noted(show: Show) -> None:
    elsewhere = f"http://{LOOPBACK}:{free_port()}/x.png"
    _, notes = show(f"<img alt=x src={elsewhere}>")
    assert notes.asked_elsewhere == [elsewhere]


@pytest.mark.parametrize(
    ("main", "rule"),
    [
        ("<img src='data:,'>", "image-alt"),
        ("<input>", "label"),
        ("<button></button>", "button-name"),
        ("<h4>Skips two levels</h4>", "heading-order"),
        ("<p><font color=#777777 style='background: #888'>Words</font></p>", "color-contrast"),
    ],
)
def test_axe_core_finds_each_fault_under_the_page_s_own_policy(
    show: Show, main: str, rule: str
) -> None:
    page, _ = show(main, "script-src 'self'")
    assert [each.partition(":")[0] for each in violations(page)] == [rule]
