"""A real browser: Debian's Chromium without a screen, and what it notes about a page."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    sync_playwright,
)
from support.system.programs import need_program

# The list of the address bar is a page of its own in each window, which nobody opens here: half of
# what a window costs. The others are those of Playwright, whose own list this one replaces.
FEATURES_LEFT_OUT: Final = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    # no requests of the browser's own
    "AimEnabled",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PreconnectToSearch",
    # the same behaviour in every version
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
)
FLAGS: Final = (
    f"--disable-features={','.join(FEATURES_LEFT_OUT)}",
    "--no-sandbox",  # root cannot have one
    "--disable-gpu",
    # no requests of the browser's own
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
THEMES: Final = ("dark", "light")
PHONE: Final = (360, 780)
DESK: Final = (1280, 800)
READING_ROOM: Final = (2560, 1440)
SIZES: Final = (PHONE, DESK, READING_ROOM)
_OF_A_RESPONSE: Final = "Failed to load resource: the server responded"  # noted by itself


class Notes:
    """What goes wrong on a page: errors, refused responses, violations of the security policy.

    Chromium reports a violation of the content security policy as an error on the console.
    """

    def __init__(self, page: Page, url: str) -> None:
        self._url = url
        self.complaints: list[str] = []
        self.asked_elsewhere: list[str] = []
        page.on("console", self._note_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("response", self._note_response)
        page.on("request", lambda request: self._note_request(request.url))

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_OF_A_RESPONSE):
            self.complaints.append(message.text)

    def _note_response(self, response: Response) -> None:
        if response.status >= httpx.codes.BAD_REQUEST:
            self.complaints.append(f"{response.status} {response.url}")

    def _note_request(self, url: str) -> None:
        # blob:, data: and the browser's own pages, such as its PDF reader, use no network
        if url.startswith(("http", "ws")) and not url.startswith(f"{self._url}/"):
            self.asked_elsewhere.append(url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a person looks at the pages."""

    theme: str = "dark"
    size: tuple[int, int] = DESK
    scripts: bool = True
    zone: str = "UTC"


@contextmanager
def looking(
    browser: Browser, look: Look, cookies: Sequence[dict[str, str]] = ()
) -> Iterator[BrowserContext]:
    """Open a browser without any state but a theme and the cookies of a sign-in."""
    width, height = look.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if look.theme == "dark" else "light",
        java_script_enabled=look.scripts,
        timezone_id=look.zone,
        reduced_motion="reduce",
    )
    made: Any = list(cookies)  # as Playwright's own dictionaries
    context.add_cookies(made)
    if look.scripts:
        context.add_init_script(f"localStorage.setItem('lobar-theme', '{look.theme}')")
    try:
        yield context
    finally:
        context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a screen; one for all tests of a module."""
    with chromium() as running:
        yield running


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium."""
    program = need_program("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield running
        running.close()
