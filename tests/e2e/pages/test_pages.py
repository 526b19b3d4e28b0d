"""Every page in a real browser: both themes, three sizes, keyboard, print, and without scripts.

The service is a whole one, and its instances came from DCMTK's storescu.
"""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from peers.browser import DESK, PHONE, SIZES, THEMES, Look
from playwright.sync_api import Browser, Page
from support.accessibility import violations
from support.pages import NOT_PAGES, PAGES, PageCase, page
from support.pages_service import PagesService

from service.domain.user import PERMISSIONS

pytestmark = [pytest.mark.dcmtk, pytest.mark.slow]

PROBLEM: Final = page("problem")
MOST_STOPS: Final = 400  # of the keyboard on one page
# everything that can be operated and is shown
OPERABLE: Final = """() => {
    const selector = "a[href], button, input:not([type=hidden]), select, textarea, summary, " +
        "[tabindex]:not([tabindex='-1'])";
    const shown = (each) => each.checkVisibility({visibilityProperty: true}) && !each.disabled;
    const found = [...document.querySelectorAll(selector)].filter(shown);
    found.forEach((each, number) => { each.dataset.stop = number; });
    // of a set of radio buttons, and of the rows of a list, the arrows lead to all others
    const group = (each) => each.type === "radio" ? each.name :
        each.hasAttribute("tabindex") && each.closest("tr") ? "rows" : "";
    return found.map((each) => [each.dataset.stop, each.outerHTML.slice(0, 120), group(each)]);
}"""
FOCUSED: Final = """() => {
    const focused = document.activeElement, style = getComputedStyle(focused);
    const seen = style.outlineStyle !== "none" || style.boxShadow !== "none";
    return [focused.dataset.stop ?? null, focused.outerHTML.slice(0, 120), seen];
}"""
READ: Final = "main h1, main h2, main h3, main thead th, main dt, main label, main .empty"


@pytest.fixture(params=PAGES, ids=[each.name for each in PAGES])
def case(request: pytest.FixtureRequest, routes: set[str]) -> PageCase:
    found: PageCase = request.param
    if found.route and found.route not in routes:
        pytest.skip(f"the application has no {found.route}")
    return found


def test_every_page_of_the_application_is_in_the_table(routes: set[str]) -> None:
    assert len(routes) >= 4
    in_table = {each.route for each in PAGES}
    assert routes - in_table == set()
    assert in_table & NOT_PAGES == set()


@pytest.mark.parametrize("case", PAGES, ids=[each.name for each in PAGES])
def test_who_looks_at_a_page_in_these_tests_may(case: PageCase) -> None:
    if case.permission is None:
        assert case.role is None
    else:
        assert case.role is not None
        assert case.permission in PERMISSIONS[case.role]


@pytest.mark.parametrize("theme", THEMES)
def test_a_page_is_accessible_and_fits_on_every_size(
    pages: PagesService, browser: Browser, case: PageCase, theme: str
) -> None:
    with pages.opened(browser, case, Look(theme=theme)) as opened:
        assert opened.page.locator("main h1").first.inner_text().startswith(case.title)
        assert opened.page.evaluate("document.documentElement.dataset.theme") == theme
        for width, height in SIZES:
            opened.page.set_viewport_size({"width": width, "height": height})
            opened.page.evaluate("() => new Promise(requestAnimationFrame)")
            assert violations(opened.page) == [], (width, height)
            assert opened.page.evaluate("document.documentElement.scrollWidth") == width
        assert opened.notes.complaints == []
        assert opened.notes.asked_elsewhere == []


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_the_keyboard_reaches_everything_and_the_focus_is_seen(
    pages: PagesService, browser: Browser, case: PageCase, size: tuple[int, int]
) -> None:
    with pages.opened(browser, case, Look(size=size)) as opened:
        operable = opened.page.evaluate(OPERABLE)
        reached = set(_stops(opened.page))
        groups = {group for stop, _, group in operable if group and stop in reached}
        missed = [
            html for stop, html, group in operable if stop not in reached and group not in groups
        ]
        assert len(reached) >= 5
        assert missed == []


def _stops(shown: Page) -> Iterator[str]:
    """Press Tab until it comes back to the beginning; yield what had the focus."""
    first = None
    for _ in range(MOST_STOPS):
        shown.keyboard.press("Tab")
        stop, html, seen = shown.evaluate(FOCUSED)
        if stop is not None and stop == first:
            return
        first = first or stop
        if stop is not None:
            assert seen, html
            yield stop
    pytest.fail("the keyboard never came back to the beginning")


def test_without_scripts_a_page_says_the_same(
    pages: PagesService, browser: Browser, case: PageCase
) -> None:
    with pages.opened(browser, case, Look()) as opened:
        with_scripts = _read(opened.page)
    with pages.opened(browser, case, Look(scripts=False)) as opened:
        without = _read(opened.page)
        assert opened.notes.complaints == []
        assert opened.page.locator("#theme").is_hidden()
    assert with_scripts - without - set(case.only_with_script) == set()


def _read(shown: Page) -> set[str]:
    found = shown.locator(READ).all_inner_texts()
    assert found
    return {" ".join(each.split()) for each in found} - {""}


def test_on_paper_there_is_no_navigation_and_the_disclaimer_is_kept(
    pages: PagesService, browser: Browser, case: PageCase
) -> None:
    with pages.opened(browser, case, Look(theme="dark")) as opened:
        opened.page.emulate_media(media="print")
        assert opened.page.locator("header").is_hidden()
        assert opened.page.locator("footer").get_by_text("Not a medical device").is_visible()
        assert opened.page.locator("main h1").first.is_visible()
        colours: Any = opened.page.evaluate(
            "() => [getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.body).color]"
        )
        assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]


def test_the_theme_is_dark_until_another_is_chosen_and_is_kept(
    pages: PagesService, browser: Browser
) -> None:
    context = browser.new_context(color_scheme="light")
    shown = context.new_page()
    shown.goto(f"{pages.url}/nothing")
    seen = []
    for _ in range(4):
        seen.append((shown.locator("#theme").inner_text(), _background(shown)))
        shown.locator("#theme").click()
        shown.reload()
    context.close()
    dark, light = "rgb(17, 22, 26)", "rgb(255, 255, 255)"
    words = ("dark", "light", "as the device", "dark")
    assert seen == [
        (f"Theme: {each}", back)
        for each, back in zip(words, (dark, light, light, dark), strict=True)
    ]


@pytest.mark.parametrize(
    ("theme", "expected"), [("dark", "rgb(17, 22, 26)"), ("light", "rgb(255, 255, 255)")]
)
def test_without_scripts_the_theme_is_the_device_s(
    pages: PagesService, browser: Browser, theme: str, expected: str
) -> None:
    with pages.opened(browser, PROBLEM, Look(theme=theme, scripts=False)) as opened:
        assert _background(opened.page) == expected


def _background(shown: Page) -> str:
    return str(shown.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_times_are_in_the_viewer_s_zone_which_is_named(
    pages: PagesService, browser: Browser
) -> None:
    job = page("job")
    with pages.opened(browser, job, Look(zone="Asia/Tokyo", scripts=False)) as opened:
        before = opened.page.locator("main time").first.inner_text()
        assert "UTC" in opened.page.locator("footer").inner_text()
    with pages.opened(browser, job, Look(zone="Asia/Tokyo")) as opened:
        first = opened.page.locator("main time").first
        assert first.inner_text() != before
        there = opened.page.evaluate(
            "iso => new Date(iso).toLocaleString('sv-SE', {timeZone: 'Asia/Tokyo'})",
            first.get_attribute("datetime"),
        )
        assert first.inner_text() == there
        assert "Asia/Tokyo" in opened.page.locator("footer").inner_text()
        assert "UTC" not in " ".join(opened.page.locator("[data-zone]").all_inner_texts())


def test_times_in_a_fragment_that_comes_later_are_in_the_viewer_s_zone_too(
    pages: PagesService, browser: Browser
) -> None:
    with pages.opened(browser, PROBLEM, Look(zone="Asia/Tokyo")) as opened:
        opened.page.evaluate(
            "() => document.querySelector('main').insertAdjacentHTML('beforeend',"
            " '<p><time id=late datetime=\"2026-01-31T20:00:00.000+00:00\">x</time></p>')"
        )
        assert opened.page.locator("#late").inner_text() == "2026-02-01 05:00:00"


def test_the_skip_link_leads_to_the_content(pages: PagesService, browser: Browser) -> None:
    with pages.opened(browser, PROBLEM, Look()) as opened:
        opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.activeElement.className") == "skip"
        opened.page.keyboard.press("Enter")
        assert opened.page.evaluate("document.activeElement.id") == "main"


def test_in_forced_colours_the_words_and_the_frame_are_the_viewer_s_own(
    pages: PagesService, browser: Browser
) -> None:
    with pages.opened(browser, PROBLEM, Look()) as opened:
        opened.page.emulate_media(forced_colors="active")
        token = "getComputedStyle(document.documentElement).getPropertyValue('--ink')"
        assert opened.page.evaluate(token).strip() == "CanvasText"
