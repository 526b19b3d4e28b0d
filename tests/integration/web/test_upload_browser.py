"""The upload page in a real browser: drop files, see their progress, results and refusals."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from peers.viewer import PATIENCE_SECONDS
from playwright.sync_api import Browser, FilePayload, Page, expect
from support.routes import to
from support.web_server import Web, part10, picture
from synthetic.archives import zipped
from synthetic.objects import make_cr, make_dx

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord
from service.domain.reasons import Reason

pytestmark = pytest.mark.slow
MILLISECONDS: Final = 1000 * PATIENCE_SECONDS
REPORT = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.77"
)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.87654, operating_point="screening", model="pneumonia 1.2"
)
DROP: Final = """(files) => {
  const transfer = new DataTransfer();
  for (const [name, bytes] of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
  return transfer;
}"""


class Workers(threading.Thread):
    """A stand-in for the infer worker: the first job is a side view, all others are read."""

    def __init__(self, web: Web) -> None:
        super().__init__()
        self._web = web
        self._stopped = threading.Event()
        self.done = 0

    def run(self) -> None:
        while not self._stopped.wait(0.2):
            for job in self._web.ledger.jobs.lease(
                "test/", 8, lease_seconds=60, maximum_attempts=3
            ):
                if self.done == 0:
                    self._web.ledger.jobs.not_analysed(job, Reason.LATERAL)
                else:
                    self._web.ledger.jobs.report(job, CONCLUSION, [REPORT], to([]))
                self.done += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state", destinations=()).running() as running:
        yield running


@pytest.fixture
def workers(web: Web) -> Iterator[Workers]:
    running = Workers(web)
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser, web: Web) -> Iterator[Page]:
    """The upload page of a narrow window; no complaint of the browser is left unseen."""
    context = browser.new_context(viewport={"width": 360, "height": 800})
    context.set_default_timeout(MILLISECONDS)
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    opened.goto(f"{web.client.base_url}/upload")
    yield opened
    context.close()
    assert complaints == []


def file(name: str, content: bytes) -> FilePayload:
    return {"name": name, "mimeType": "", "buffer": content}


def item(page: Page, name: str) -> Any:  # noqa: ANN401 -- a locator
    return page.locator("li.transfer").filter(has=page.get_by_text(name, exact=True))


def drop(page: Page, files: dict[str, bytes]) -> None:
    """Drop files on the page as a person does with a mouse."""
    listed = [[name, list(content)] for name, content in files.items()]
    transfer = page.evaluate_handle(DROP, listed)
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#upload-form", kind, {"dataTransfer": transfer})


def test_dropped_files_are_sent_one_by_one_and_their_results_appear(
    page: Page, web: Web, workers: Workers, tmp_path: Path
) -> None:
    drop(
        page,
        {
            "side.dcm": part10(make_cr(), tmp_path),
            "study.zip": zipped({"IM1": part10(make_dx(), tmp_path), "readme.txt": b"hello"}),
            "notes.pdf": b"%PDF-1.7",
        },
    )
    expect(item(page, "notes.pdf")).to_contain_text("It is a PDF", timeout=MILLISECONDS)
    expect(item(page, "notes.pdf")).to_contain_text("Export the radiograph itself")
    expect(item(page, "side.dcm")).to_contain_text("waiting to be read", timeout=MILLISECONDS)
    expect(item(page, "study.zip")).to_contain_text("study.zip/IM1", timeout=MILLISECONDS)
    workers.start()
    expect(item(page, "study.zip")).to_contain_text("readme.txt")
    expect(page.locator("#transfers-summary")).to_contain_text("3 of 3 files sent")
    first = page.get_by_text("The pixels show a chest from the side")
    expect(first).to_be_visible(timeout=MILLISECONDS)
    expect(page.get_by_text("Send the frontal view of the same study")).to_be_visible()
    expect(page.get_by_text("probability 0.877")).to_be_visible(timeout=MILLISECONDS)
    expect(page.get_by_text("No PACS is configured to send the report to, so")).to_be_visible()
    expect(page.locator(".reading[data-final=false]")).to_have_count(0, timeout=MILLISECONDS)
    assert len(web.ledger.queries.recent()) == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_chosen_files_show_progress_and_can_be_cancelled_and_tried_again(
    page: Page, web: Web
) -> None:
    page.route("**/upload", lambda _: None)  # never answered, as by a network that hangs
    page.set_input_files("#files", file("a.png", picture()))
    chosen = item(page, "a.png")
    expect(chosen.locator("progress")).to_be_visible()
    chosen.get_by_role("button", name="Cancel a.png").click()
    expect(chosen).to_contain_text("Cancelled.")
    page.unroute("**/upload")
    chosen.get_by_role("button", name="Try a.png again").click()
    expect(chosen).to_contain_text("waiting to be read", timeout=MILLISECONDS)
    expect(chosen.get_by_role("link")).to_have_attribute("href", re.compile("/jobs/[0-9a-f]{32}"))
    assert len(web.ledger.queries.recent()) == 1


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(page: Page, web: Web) -> None:
    page.set_input_files("#files", file("large.dcm", bytes((4 << 20) + 1)))
    expect(item(page, "large.dcm")).to_contain_text("larger than the 4.2 MB")
    assert web.ledger.queries.recent() == []


def test_a_folder_is_sent_with_its_folders_and_without_the_systems_files(
    page: Page, tmp_path: Path
) -> None:
    folder = tmp_path / "STUDY"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a.png").write_bytes(picture())
    (folder / ".DS_Store").write_bytes(b"Bud1")
    page.set_input_files("#folder", folder)
    expect(item(page, "STUDY/inner/a.png")).to_contain_text(
        "waiting to be read", timeout=MILLISECONDS
    )
    expect(page.locator("li.transfer")).to_have_count(1)


def test_a_hostile_name_is_text(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>.txt"
    page.set_input_files("#files", file(name, b"hello"))
    expect(item(page, name)).to_contain_text("Refused.", timeout=MILLISECONDS)
    expect(page.locator("main img")).to_have_count(0)


def test_the_status_page_renews_itself_but_not_under_a_persons_hands(
    browser: Browser, web: Web
) -> None:
    def park() -> None:
        web.receive()
        (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
        web.ledger.jobs.park(job, Reason.REPORT_FAILED)

    park()
    context = browser.new_context(viewport={"width": 360, "height": 800})
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{web.client.base_url}/status")
    expect(page.get_by_text("1 parked:")).to_be_visible()
    park()
    expect(page.get_by_text("2 parked:")).to_be_visible(timeout=MILLISECONDS)
    page.get_by_label("Why they are closed").fill("films of a phantom")
    park()
    expect(page.get_by_text("3 received in all")).to_be_visible(timeout=MILLISECONDS)
    expect(page.get_by_label("Why they are closed")).to_have_value("films of a phantom")
    page.get_by_role("button", name="Dismiss all 2").click()
    expect(page.get_by_text("3 jobs dismissed.")).to_be_visible(timeout=MILLISECONDS)
    context.close()
    assert complaints == []
