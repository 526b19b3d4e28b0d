"""The commands of the pages, run beside a service that is connected to a real Orthanc.

The first tests follow docs/connect/orthanc.md from its beginning to its end; then every page's
blocks marked `run: service` are run, a page at a time, in the order of the page.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser
from support.command_blocks import ROOT, CommandBlock, run_here
from support.connected_orthanc import (
    PAGE,
    ConnectedOrthanc,
    connected_orthanc,
    explorer_page,
)
from support.system.http import HTTP
from support.system.programs import need_program
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.domain.user import Permission, Role

pytestmark = [pytest.mark.orthanc, pytest.mark.slow]

STEPS: Final = [block for block in run_here("orthanc") if block.page == PAGE]
LONG: Final = {"bundles.md"}  # it reads the bundle three times
PAGES: Final = [
    pytest.param(
        page, marks=[pytest.mark.full] * (page.name in LONG), id=str(page.relative_to(ROOT))
    )
    for page in dict.fromkeys(block.page for block in run_here("service"))
]
RESULTS: Final = ["CR", "OT", "SR"]
BEGINNING: Final = """
curl() { command curl --silent --show-error --fail "$@"; }
"""


@pytest.fixture(scope="module")
def connected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectedOrthanc]:
    folder = tmp_path_factory.mktemp("connected")
    with connected_orthanc(folder, senders=["STORESCU"]) as running:
        yield running


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder in which commands find what the pages speak of."""

    folder: Path
    environment: dict[str, str]
    meant: dict[str, str]
    """What the words of the pages stand for here."""
    done: set[str] = field(default_factory=set)
    """Commands that were run, and need not be run again for another page."""

    def run(self, block: CommandBlock) -> str:
        """Run a block as one script, and return what it printed."""
        text = block.text
        for word, here in self.meant.items():
            text = text.replace(word, here)
        lines = [line for line in text.splitlines() if self._is_to_be_run(line)]
        done = subprocess.run(
            [need_program("bash"), "-euo", "pipefail", "-c", BEGINNING + "\n".join(lines)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, f"{block.place}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def _is_to_be_run(self, line: str) -> bool:
        """Whether a line is anything but `lobar up`, which runs, or a check that was made."""
        command = line.split("#", maxsplit=1)[0].strip()
        again = command == "lobar check" and command in self.done
        self.done.add(command)
        return command != "lobar up" and not again


@pytest.fixture(scope="module")
def place(connected: ConnectedOrthanc) -> Place:
    lobar = connected.lobar
    folder = lobar.folder
    environment = lobar.environment | {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder),
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
    }
    return Place(
        folder=folder,
        environment=environment,
        meant={
            ".venv/bin/": "",
            "127.0.0.1:8080": f"127.0.0.1:{lobar.web_port}",
            "127.0.0.1:8042": connected.orthanc.http_url.removeprefix("http://"),
            "127.0.0.1 11112": f"127.0.0.1 {lobar.dicom_port}",
            "/var/lib/lobar/state/": f"{lobar.state_dir}/",
            "/var/lib/lobar": str(lobar.state_dir),
            "/backup/lobar": str(folder / "backup"),
            "/opt/elsewhere": lobar.environment["LOBAR_BUNDLE__PATH"],
            "/tmp/tried": str(folder / "tried"),  # noqa: S108 -- a word of a page
        },
    )


@pytest.fixture(scope="module")
def sent_by_hand(place: Place, connected: ConnectedOrthanc, browser: Browser) -> str:
    """A study that was sent as the page shows it; its UID, which is `1.2.3` from then on."""
    source = connected.keep_radiograph()
    study = str(source.StudyInstanceUID)
    with explorer_page(browser) as page:
        connected.open_study(page, study)
        connected.choose_lobar(page)
        connected.send(page)
        assert connected.wait_for_results(study) == RESULTS
    place.meant["1.2.3"] = study
    return study


def test_orthanc_and_lobar_find_each_other(place: Place, connected: ConnectedOrthanc) -> None:
    check, echo = STEPS[0], STEPS[1]
    said = place.run(check)
    assert f"ORTHANC at 127.0.0.1:{connected.orthanc.dicom_port} answers C-ECHO" in said
    assert "No errors." in said
    assert json.loads(place.run(echo)) == {}


def test_a_study_that_is_sent_by_hand_comes_back_with_its_results(
    place: Place, sent_by_hand: str
) -> None:
    assert sent_by_hand in place.meant.values()
    assert "delivered" in place.run(STEPS[2])


def test_the_study_shows_its_results_in_orthanc_explorer(
    connected: ConnectedOrthanc, sent_by_hand: str, browser: Browser
) -> None:
    with explorer_page(browser) as page:
        connected.open_study(page, sent_by_hand)
        shown = page.locator("#list-series").inner_text()
        assert [each for each in RESULTS if f"Modality: {each}" in shown] == RESULTS


def test_every_radiograph_is_sent_automatically_and_the_results_start_no_loop(
    connected: ConnectedOrthanc, sent_by_hand: str
) -> None:
    assert sent_by_hand
    connected.send_automatically()
    source = connected.keep_radiograph()
    assert connected.wait_for_results(str(source.StudyInstanceUID)) == RESULTS
    states = [job.state for job in connected.lobar.all_jobs()]
    assert states == [JobState.DELIVERED] * 2, "no result came to Lobar"


@pytest.fixture(scope="module")
def filled(place: Place, connected: ConnectedOrthanc, sent_by_hand: str) -> Place:
    """The place with files, a user and a token, and the words for a job."""
    for name in ("chest.dcm", "a.dcm", "b.dcm"):
        make_cr().save_as(place.folder / name, enforce_file_format=True)
    lobar = connected.lobar
    ledger = lobar.ledger()
    ledger.users.add("anna", Role.ADMIN, None)
    scopes = frozenset(Permission) - {Permission.ADMINISTER}
    _, token = ledger.api_tokens.add("anna", label="pages", scopes=scopes, seconds=3600)
    ledger.close()
    (job,) = (each for each in lobar.all_jobs() if each.study_instance_uid == sent_by_hand)
    place.environment.update(TOKEN=token, JOB=job.id)
    return place


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_work_one_after_the_other(filled: Place, page: Path) -> None:
    shutil.rmtree(filled.folder / "backup", ignore_errors=True)
    need_program("curl")
    for block in run_here("service"):
        if block.page == page:
            filled.run(block)


def test_the_service_is_well_after_all_of_them(filled: Place, connected: ConnectedOrthanc) -> None:
    assert filled.environment["TOKEN"]
    assert connected.lobar.balance() == 0
    assert HTTP.get(f"{connected.lobar.url}/health/ready").status_code == 200
