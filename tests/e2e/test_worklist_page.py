"""The worklist in a real browser: live rows, the keyboard, and a page without scripts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, expect
from support.routes import to
from support.web_server import Web

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance
from service.domain.patient import Patient
from service.domain.user import Role
from service.web.access import SESSION_COOKIE

PHONE: Final = {"width": 360, "height": 780}
DESK: Final = {"width": 1280, "height": 800}
RULES: Final = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}

pytestmark = pytest.mark.slow


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state").running() as running:
        yield running


def add(web: Web, number: int, finding: str | None = None) -> str:
    """Record the job of a patient, read or not; return its id."""
    job_id = f"{number:032x}"
    web.ledger.jobs.receive(
        Instance(
            job_id=job_id,
            sop_instance_uid=f"2.25.{number}",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            series_instance_uid="2.25.1",
            study_instance_uid="2.25.2",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            digest=f"{number:064x}",
            size_bytes=10,
            calling_ae_title="ROOM 1",
        ),
        Patient(
            patient_name=f"Number{number}^Jane=山田^太郎",
            patient_id=f"PID-{number}",
            accession_number=f"ACC-{number}",
            birth_date="20200102",
            sex="F",
            modality="CR",
            view_position="PA",
        ),
    )
    if finding is not None:
        report(web, job_id, finding)
    return job_id


def report(web: Web, job_id: str, finding: str) -> None:
    leased = web.ledger.jobs.lease("t/", 1000, lease_seconds=0, maximum_attempts=1000)
    conclusion = ConclusionRecord(
        finding=finding,
        probability=0.8,
        operating_point="screening",
        model="pneumonia 1",
        threshold=0.4,
        indeterminate_low=0.3,
        indeterminate_high=0.5,
    )
    output = OutputRecord(kind="sr", sop_class_uid="1.2", sop_instance_uid=f"2.25.9{job_id[-4:]}")
    job = next(each for each in leased if each.id == job_id)
    web.ledger.jobs.report(job, conclusion, [output], to(["pacs"]))


@contextmanager
def opened(
    browser: Browser, web: Web, *, scripts: bool = True, size: dict[str, int] = DESK
) -> Iterator[Page]:
    """Open the worklist as a radiologist; an error on its console fails the test."""
    client = web.sign_in(Role.RADIOLOGIST)
    url = str(web.client.base_url)
    context = browser.new_context(
        viewport={"width": size["width"], "height": size["height"]}, java_script_enabled=scripts
    )
    context.add_cookies(
        [{"name": SESSION_COOKIE, "value": client.cookies[SESSION_COOKIE], "url": url}]
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(url)
    yield page
    context.close()
    # the jobs of these tests have no bytes, of which their pages tell the viewer so
    assert [each for each in complaints if "410 (Gone)" not in each] == []


def focused(page: Page) -> str:
    """Return the job whose row has the focus."""
    return str(page.evaluate("document.activeElement.closest('tr')?.dataset.job ?? ''"))


def test_a_new_finding_appears_by_itself_and_the_focus_stays(browser: Browser, web: Web) -> None:
    first = add(web, 1)
    with opened(browser, web) as page:
        expect(page.locator("#live-state")).to_have_text("Live")
        page.keyboard.press("j")
        assert focused(page) == first
        second = add(web, 2)
        expect(page.locator("tbody tr")).to_have_count(2)
        expect(page.locator("#announcement")).to_have_text("1 new in the list")
        assert focused(page) == first
        report(web, second, "present")
        expect(page.locator("tbody tr").first).to_have_attribute("data-job", second)
        expect(page.locator("tbody tr").first).to_contain_text("0.800")
        assert focused(page) == first


def test_a_paused_page_waits_and_then_catches_up(browser: Browser, web: Web) -> None:
    add(web, 1)
    with opened(browser, web) as page:
        expect(page.locator("#live-state")).to_have_text("Live")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#live-state")).to_have_text("Paused")
        add(web, 2)
        page.wait_for_timeout(1500)
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("tbody tr")).to_have_count(2)


def test_a_page_whose_session_ended_says_so(browser: Browser, web: Web) -> None:
    add(web, 1)
    with opened(browser, web) as page:
        expect(page.locator("#live-state")).to_have_text("Live")
        for cookie in page.context.cookies():
            web.ledger.sessions.end(cookie["value"])
        expect(page.locator("#live-state")).to_contain_text("Signed out")


def test_the_keyboard_moves_searches_explains_and_opens(browser: Browser, web: Web) -> None:
    jobs = [add(web, number) for number in range(1, 4)]
    with opened(browser, web) as page:
        page.keyboard.press("j")
        page.keyboard.press("ArrowDown")
        assert focused(page) == jobs[1]
        expect(page.locator("#announcement")).to_have_text("Row 2 of 3")
        page.keyboard.press("k")
        assert focused(page) == jobs[0]
        assert page.locator("tbody a[tabindex='0']").count() == 1
        page.keyboard.press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type("jj?/")
        expect(page.locator("#search")).to_have_value("jj?/")
        page.locator("h1").click()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("j")
        page.keyboard.press("j")
        opened_job = focused(page)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/jobs/{opened_job}")


def test_without_scripts_filters_and_rows_work(browser: Browser, web: Web) -> None:
    present, _absent = add(web, 1, "present"), add(web, 2, "absent")
    with opened(browser, web, scripts=False) as page:
        page.get_by_label("Finding").select_option("present")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.locator("tbody tr a").click()
        page.wait_for_url(f"**/jobs/{present}")


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_cut_off_and_axe_finds_nothing(
    browser: Browser, web: Web, size: dict[str, int]
) -> None:
    for number, finding in enumerate(("present", "indeterminate", "absent", None)):
        add(web, number, finding)
    with opened(browser, web, size=size) as page:
        expect(page.locator("tbody tr")).to_have_count(4)
        wide = page.evaluate("document.querySelector('main').scrollWidth - innerWidth")
        assert wide <= 0
        page.evaluate(AXE_SCRIPT)
        found = page.evaluate("rules => axe.run(document, rules)", RULES)
        assert [(each["id"], each["nodes"][0]["target"]) for each in found["violations"]] == []
