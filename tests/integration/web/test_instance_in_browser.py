"""The page of an instance in Chromium: keys, accessibility, both themes, a narrow screen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page
from support.reported_job import deliver, receive, report
from support.web_server import Web
from synthetic.report_sources import predicted

from service.domain.patient import Patient
from service.domain.routing import OutputKind
from service.domain.user import Role
from service.domain.verdict import Opinion
from service.web.access import SESSION_COOKIE
from workers.prediction import Finding

pytestmark = pytest.mark.slow

JANE = Patient(
    patient_name="Doe^Jane", patient_id="PID-4711", birth_date="20230115", study_date="20260504"
)


@pytest.fixture
def judged(web: Web) -> str:
    """A job that has everything that the page can show."""
    earlier = receive(web, replace(JANE, study_date="20250101"))
    report(web, earlier, predicted(Finding.ABSENT))
    job_id = receive(web, JANE)
    uid = report(web, job_id, predicted(other=Finding.PRESENT), kinds=set(OutputKind))
    deliver(web)
    web.ledger.verdicts.record(
        job_id,
        report_uid=uid,
        user="rolf",
        opinion=Opinion.DISAGREE,
        right_finding="absent",
        comment="a skin fold",
    )
    return job_id


@contextmanager
def opened(
    browser: Browser, web: Web, role: Role, path: str, *, width: int = 1400, dark: bool = True
) -> Iterator[Page]:
    client = web.sign_in(role)
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    token = client.cookies[SESSION_COOKIE]
    context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": str(client.base_url)}])
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{client.base_url}{path}")
    yield page
    context.close()
    # the content security policy complains there; the jobs of these tests have no pixels to show
    assert [each for each in complaints if "410 (Gone)" not in each] == []


def test_the_page_is_accessible_and_fits_in_both_themes_and_widths(
    browser: Browser, web: Web, judged: str
) -> None:
    for dark in (True, False):
        for width in (1400, 360):
            with opened(
                browser, web, Role.RADIOLOGIST, f"/jobs/{judged}", width=width, dark=dark
            ) as page:
                found = Axe().run(page).response["violations"]
                assert [each["id"] for each in found] == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_other_pages_are_accessible(browser: Browser, web: Web, judged: str) -> None:
    for role, path in ((Role.OPERATOR, f"/jobs/{judged}"), (Role.VIEWER, "/model")):
        with opened(browser, web, role, path) as page:
            assert [each["id"] for each in Axe().run(page).response["violations"]] == []


def test_keys_choose_an_opinion_and_only_the_button_records_it(
    browser: Browser, web: Web, judged: str
) -> None:
    with opened(browser, web, Role.RADIOLOGIST, f"/jobs/{judged}") as page:
        chosen = page.locator("input[name=opinion]:checked")
        for key, opinion in (("a", "agree"), ("u", "unsure"), ("d", "disagree")):
            page.locator("h1").click()
            page.evaluate("document.activeElement.blur()")
            page.keyboard.press(key)
            assert chosen.get_attribute("value") == opinion
        page.keyboard.press("i")  # the field has the focus: a letter in it is no key
        page.locator("#comment").fill("")
        page.locator("#comment").press("a")
        assert chosen.get_attribute("value") == "disagree"
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Control+a")
        assert chosen.get_attribute("value") == "disagree"
        assert len(web.ledger.verdicts.of_job(judged)) == 1
        page.select_option("#right-finding", "indeterminate")
        page.locator("#verdict-form button").click()
        page.wait_for_url("**#verdict")
        assert page.locator(".verdicts .finding-indeterminate").count() == 1
    first, second = web.ledger.verdicts.of_job(judged)
    assert (first.user, second.user, second.right_finding) == (
        "rolf",
        "radiologist",
        "indeterminate",
    )


def test_reading_and_judging_work_without_scripts(browser: Browser, web: Web, judged: str) -> None:
    client = web.sign_in(Role.RADIOLOGIST)
    context = browser.new_context(java_script_enabled=False)
    token = client.cookies[SESSION_COOKIE]
    context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": str(client.base_url)}])
    page = context.new_page()
    page.goto(f"{client.base_url}/jobs/{judged}")
    assert page.locator(".timeline li").count() > 3
    page.locator("input[value=unsure]").check()
    page.locator("#comment").fill("motion")
    page.locator("#verdict-form button").click()
    page.wait_for_url("**#verdict")
    context.close()
    assert [each.comment for each in web.ledger.verdicts.of_job(judged)] == [
        "a skin fold",
        "motion",
    ]


def test_who_disagrees_must_say_what_is_right_and_nobody_else_is_asked(
    browser: Browser, web: Web, judged: str
) -> None:
    with opened(browser, web, Role.RADIOLOGIST, f"/jobs/{judged}") as page:
        right = page.locator("#right-finding")
        assert right.is_hidden()
        page.get_by_role("radio", name="Disagree").check()
        assert right.is_visible()
        page.locator("#comment").fill("left lower lobe")
        page.locator("#verdict-form button").click()
        assert page.locator("#right-finding:invalid").count() == 1  # the form stays where it is
        assert page.locator("#comment").input_value() == "left lower lobe"
        page.get_by_role("radio", name="Unsure").check()
        assert right.is_hidden()
        page.locator("#verdict-form button").click()
        page.wait_for_url("**#verdict")
        assert page.get_by_text("The verdict was recorded.").is_visible()
        assert "done" not in page.url  # a reload does not say it again


def test_without_scripts_a_refused_verdict_is_on_the_page_with_what_was_typed(
    browser: Browser, web: Web, judged: str
) -> None:
    client = web.sign_in(Role.RADIOLOGIST)
    context = browser.new_context(java_script_enabled=False)
    token = client.cookies[SESSION_COOKIE]
    context.add_cookies([{"name": SESSION_COOKIE, "value": token, "url": str(client.base_url)}])
    page = context.new_page()
    page.goto(f"{client.base_url}/jobs/{judged}")
    page.locator("input[value=disagree]").check()
    page.locator("#comment").fill("left lower lobe")
    page.locator("#verdict-form button").click()
    assert "Who disagrees says what is right" in page.get_by_role("alert").inner_text()
    assert page.locator("input[value=disagree]").is_checked()
    page.select_option("#right-finding", "absent")
    page.locator("#verdict-form button").click()
    page.wait_for_url("**#verdict")
    context.close()
    assert [each.comment for each in web.ledger.verdicts.of_job(judged)] == [
        "a skin fold",
        "left lower lobe",
    ]


def test_the_film_is_left_of_the_finding_on_a_desk_and_above_it_on_a_phone(
    browser: Browser, web: Web, judged: str
) -> None:
    for width, beside in ((1280, True), (1000, False), (360, False)):
        with opened(browser, web, Role.RADIOLOGIST, f"/jobs/{judged}", width=width) as page:
            film = page.locator(".job-film").bounding_box()
            reading = page.locator(".job-reading").bounding_box()
            assert film is not None
            assert reading is not None
            assert (film["x"] + film["width"] <= reading["x"]) == beside
            assert (film["y"] + film["height"] <= reading["y"]) != beside


def test_on_paper_nothing_is_wider_than_the_sheet(browser: Browser, web: Web, judged: str) -> None:
    sheet = 680  # CSS pixels between margins of 15 mm of A4
    with opened(browser, web, Role.RADIOLOGIST, f"/jobs/{judged}", width=sheet) as page:
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") <= sheet
        for pressed in page.locator("main form, main button, main input, .downloads").all():
            assert not pressed.is_visible()
        wide = page.locator("main table").evaluate_all(
            "(tables) => tables.map((each) => each.getBoundingClientRect().right)"
        )
        assert wide
        assert max(wide) <= sheet
