"""The site in a real browser: it asks nobody for anything, finds words, and draws diagrams."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from peers.browser import Look, Notes, looking
from playwright.sync_api import Browser
from support.built_site import ROOT, build_site
from support.system.ports import LOOPBACK

DRAWS = (ROOT / ".cache" / "mermaid" / "mermaid.min.js").exists()


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each on the screen."""

    def log_message(self, *_words: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site in its folder."""
    made = tmp_path_factory.mktemp("site")
    done = build_site(made)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """The address of the site on a web server."""
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{LOOPBACK}:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_a_page_is_whole_without_any_other_server_and_its_words_are_found(
    url: str, browser: Browser, theme: str
) -> None:
    with looking(browser, Look(theme=theme)) as context:
        page = context.new_page()
        notes = Notes(page, url)
        page.goto(f"{url}/docs/architecture.html")
        drawing = page.locator("div.mermaid" if DRAWS else "code:has-text('flowchart TB')")
        drawing.first.wait_for()
        page.get_by_placeholder("Search").click()
        ready = page.locator(".md-search-result__meta", has_text="Type to start searching")
        ready.wait_for()  # the index is read
        page.get_by_placeholder("Search").press_sequentially("dcm4chee")  # listens to keys
        page.locator(".md-search-result__item").first.wait_for()
        assert notes.asked_elsewhere == []
        assert notes.complaints == []


def test_a_page_can_be_read_from_the_folder(folder: Path, browser: Browser) -> None:
    with looking(browser, Look()) as context:
        page = context.new_page()
        notes = Notes(page, "file://")
        page.goto(f"file://{folder}/docs/connect/generic.html")
        page.get_by_role("link", name="DICOM over TLS").first.click()
        page.get_by_role("heading", name="DICOM over TLS").wait_for()
        assert notes.asked_elsewhere == []
