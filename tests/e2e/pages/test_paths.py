"""What people come for, from beginning to end, in a real browser on a whole service.

Each path runs on both themes, one of them on a phone.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from peers.browser import DESK, PHONE, Look
from playwright.sync_api import Browser, Page, expect
from pydicom import dcmread
from support.pages_service import SAMPLES, PagesService
from support.web_server import picture

from service.domain.job import JobState
from service.domain.user import Role
from service.storage.ledger.reading.statistics import Selection

pytestmark = [pytest.mark.dcmtk, pytest.mark.slow]

LOOKS: Final = (Look(theme="dark", size=DESK), Look(theme="light", size=PHONE))
BOTH: Final = pytest.mark.parametrize("look", LOOKS, ids=["dark-desk", "light-phone"])
PASSWORD: Final = "a long enough pass phrase"
SECONDS: Final = 60  # a bound against hanging
Need = Callable[[str], None]


@pytest.fixture
def need(routes: set[str]) -> Need:
    """`need(route)` skips the test while the application does not have a page."""

    def _need(route: str) -> None:
        if route not in routes:
            pytest.skip(f"the application has no {route}")

    return _need


def sign_in(pages: PagesService, page: Page, name: str, role: Role) -> None:
    pages.add_user(name, role, PASSWORD)
    page.goto(f"{pages.url}/sign-in")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("banner")).to_contain_text(name)


def find(page: Page, words: str) -> None:
    page.get_by_role("searchbox").fill(words)
    page.get_by_role("searchbox").press("Enter")


def state_becomes(page: Page, words: str) -> None:
    """Wait until the head of a job's page says a state; reload as a person would."""
    heading = page.locator(".job-state")
    for _ in range(SECONDS):
        if words in heading.inner_text():
            return
        page.wait_for_timeout(1000)
        page.reload()
    pytest.fail(f"the job's page never said {words}: {heading.inner_text()}")


@BOTH
def test_a_radiologist_signs_in_finds_a_patient_looks_and_disagrees(
    pages: PagesService, browser: Browser, need: Need, look: Look
) -> None:
    need("/sign-in")
    sample = next(
        sample
        for sample in map(dcmread, sorted(SAMPLES.glob("*.dcm")))
        if pages.lobar.settled(sample.SOPInstanceUID).id == pages.ids["present"]
    )
    name = f"radiologist-{look.theme}"
    with pages.seen_by(browser, None, look) as opened:
        page = opened.page
        sign_in(pages, page, name, Role.RADIOLOGIST)
        find(page, str(sample.PatientName).replace("^", " "))
        page.locator(f'a[href="/jobs/{pages.ids["present"]}"]').first.click()
        expect(page.locator(".job-state")).to_contain_text(pages.ids["present"][:8])
        expect(page.locator("main canvas").first).to_be_visible()
        page.get_by_role("radio", name="Disagree").check()
        page.get_by_label("right is").select_option("absent")
        page.get_by_label("Comment").fill("An artefact of the phantom.")
        page.get_by_role("button", name="Record the verdict").click()
        expect(page.locator(".verdicts")).to_contain_text(f"{name} disagrees: absent, not present")
        expect(page.locator("main canvas").first).to_be_visible()  # its samples are there
        page.get_by_role("button", name="Sign out").click()
        assert opened.notes.complaints == []
        assert opened.notes.asked_elsewhere == []
    audited = [each.split()[0] for each in pages.audited() if each.endswith(f" {name}")]
    acts = [each for each in audited if each != "view"]
    assert acts == ["sign-in", "search", "verdict", "sign-out"]
    assert "view" in audited[audited.index("search") : audited.index("verdict")]
    with closing(pages.lobar.ledger()) as ledger:
        counts = ledger.statistics.verdicts(Selection(since=0, until=2e10))
    assert {(each.opinion, each.right_finding) for each in counts} == {("disagree", "absent")}


@BOTH
def test_an_uploader_drops_a_file_and_reads_the_result_on_the_same_page(
    pages: PagesService, browser: Browser, need: Need, look: Look
) -> None:
    need("/upload")
    content = picture(seed=7 + LOOKS.index(look))
    with pages.seen_by(browser, Role.RADIOLOGIST, look) as opened:
        page = opened.page
        page.goto(f"{pages.url}/upload")
        dropped = page.evaluate_handle(
            """bytes => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(bytes)], "chest.png"));
                return transfer;
            }""",
            list(content),
        )
        page.locator("#upload-form").dispatch_event("drop", {"dataTransfer": dropped})
        result = page.locator('[data-final="true"]')
        expect(result).to_be_visible(timeout=SECONDS * 1000)
        expect(page.locator("main")).to_contain_text("chest.png")
        assert page.url == f"{pages.url}/upload"
        assert opened.notes.complaints == []


@BOTH
def test_without_scripts_an_uploader_chooses_a_file_and_gets_its_result(
    pages: PagesService, browser: Browser, need: Need, look: Look, tmp_path: Path
) -> None:
    need("/upload")
    file = tmp_path / "chest.png"
    file.write_bytes(picture(seed=17 + LOOKS.index(look)))
    look = Look(theme=look.theme, size=look.size, scripts=False)
    with pages.seen_by(browser, Role.RADIOLOGIST, look) as opened:
        opened.page.goto(f"{pages.url}/upload")
        opened.page.set_input_files("#files", file)
        opened.page.get_by_role("button", name="Send").click()
        job = opened.page.locator('a[href^="/jobs/"]').first
        expect(job).to_be_visible(timeout=SECONDS * 1000)


# last, because the archive answers from here on
def test_an_operator_finds_what_is_parked_repairs_the_archive_and_requeues(
    pages: PagesService, browser: Browser
) -> None:
    parked = pages.ids["parked"]
    with pages.seen_by(browser, Role.OPERATOR, LOOKS[0]) as opened:
        page = opened.page
        page.goto(f"{pages.url}/?state=parked")
        page.locator(f'a[href="/jobs/{parked}"]').first.click()
        expect(page.locator("main")).to_contain_text("destination-unreachable")
        pages.archive.start()
        page.get_by_role("button", name="Requeue").click()
        state_becomes(page, "Not analysed")
        assert opened.notes.complaints == []
    assert len(pages.archive.received()) == 1
    assert pages.job(parked).state is JobState.NOT_ANALYSED
    assert "requeue operator" in pages.audited()


def test_an_operator_requeues_on_the_status_page(
    pages: PagesService, browser: Browser, need: Need
) -> None:
    need("/status")
    pages.archive.stop()
    knee = pages.store_knee()
    pages.wait_for_state(knee, JobState.PARKED)
    with pages.seen_by(browser, Role.OPERATOR, LOOKS[1]) as opened:
        page = opened.page
        page.goto(f"{pages.url}/status")
        expect(page.locator("main")).to_contain_text("destination-unreachable")
        pages.archive.start()
        page.get_by_role("button", name="Requeue").first.click()
        pages.wait_for_state(knee, JobState.NOT_ANALYSED)
        page.goto(f"{pages.url}/status")
        expect(page.locator("main")).not_to_contain_text("destination-unreachable")
        assert opened.notes.complaints == []
