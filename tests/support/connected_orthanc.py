"""Orthanc and Lobar, each with the settings that docs/connect/orthanc.md says, and their pages."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from peers.orthanc import OrthancServer
from playwright.sync_api import Browser, Page
from pydicom.dataset import Dataset
from synthetic.objects import make_cr
from synthetic.part10 import part10

from support.command_blocks import ROOT, code_blocks
from support.lobar_process import LobarService, wait_for
from support.system.http import HTTP
from support.system.ports import free_port

PAGE: Final = ROOT / "docs" / "connect" / "orthanc.md"
EXPLORER: Final = {"OrthancExplorerEnabled": True, "Name": "Orthanc"}
SERIES: Final = 3  # of a study that Lobar has reported: the radiograph, the report, the overlay


def block(language: str, number: int = 0) -> str:
    """Return a block of code of the page."""
    found = [each.content for each in code_blocks(PAGE) if each.info == language]
    return found[number]


class ConnectedOrthanc:
    """An Orthanc that knows Lobar, and a Lobar that knows Orthanc, by the page's own words.

    Only the ports are others, and there may be more senders.
    """

    def __init__(self, folder: Path, senders: Sequence[str] = ()) -> None:
        lobar_port = str(free_port())
        wanted = json.loads(block("json").replace("11112", lobar_port))
        assert (wanted.pop("DicomAet"), wanted.pop("DicomPort")) == ("ORTHANC", 4242)
        self._folder = folder
        self.orthanc = OrthancServer(folder, options=wanted | EXPLORER)
        self.explorer = f"{self.orthanc.http_url}/app/explorer.html"
        self.lobar = LobarService(folder, LOBAR_DICOM__PORT=lobar_port)
        del self.lobar.environment["LOBAR_DESTINATIONS"]
        text = block("toml").replace("4242", str(self.orthanc.dicom_port))
        text = text.replace('["ORTHANC"]', json.dumps(["ORTHANC", *senders]))
        (folder / "lobar.toml").write_text(text.replace("11112", lobar_port))

    def start(self) -> None:
        """Start both."""
        self.orthanc.start()
        self.lobar.set()
        self.lobar.start()

    def kill(self) -> None:
        """End both."""
        self.lobar.kill()
        self.orthanc.kill()

    def keep_radiograph(self) -> Dataset:
        """Let Orthanc have a drawn radiograph as of a modality."""
        source = make_cr()
        source.PatientName, source.PatientID = "Phantom^Drawn", "PHANTOM"
        self.orthanc.keep(part10(source))
        return source

    def send_automatically(self) -> None:
        """Give Orthanc the page's script, and start it again."""
        script = self._folder / "lobar.lua"
        script.write_text(block("lua"))
        assert json.loads(block("json", 1))["LuaScripts"] == ["/etc/orthanc/lobar.lua"]
        path = self._folder / "orthanc.json"
        settings = json.loads(path.read_text())
        settings["LuaScripts"].append(str(script))
        path.write_text(json.dumps(settings))
        self.orthanc.stop()
        self.orthanc.start()

    def series(self, study_uid: str) -> list[str]:
        """Return the modalities of a study's series, in alphabetical order."""
        return sorted(
            each["Modality"]
            for each in self.orthanc.instances()
            if each["StudyInstanceUID"] == study_uid
        )

    def open_study(self, page: Page, study_uid: str) -> None:
        """Open a study in Orthanc Explorer."""
        found: list[dict[str, str]] = HTTP.post(
            f"{self.orthanc.http_url}/tools/lookup", content=study_uid
        ).json()
        (study,) = (each["ID"] for each in found if each["Type"] == "Study")
        page.goto("about:blank")  # the address differs after # only
        page.goto(f"{self.explorer}#study?uuid={study}")
        page.locator("#study-store").wait_for()
        page.locator("#list-series a").first.wait_for()

    def choose_lobar(self, page: Page) -> None:
        """Let Orthanc Explorer show where a study can be sent, with lobar among it."""
        page.locator("#study-store").click()
        page.get_by_role("link", name="lobar", exact=True).wait_for()

    def send(self, page: Page) -> None:
        """Send the study to lobar, which was chosen."""
        page.get_by_role("link", name="lobar", exact=True).click()

    def wait_for_results(self, study_uid: str) -> list[str]:
        """Wait until report and overlay are in Orthanc, and return the series of the study."""
        wait_for(lambda: len(self.series(study_uid)) == SERIES)
        return self.series(study_uid)


@contextmanager
def connected_orthanc(folder: Path, senders: Sequence[str] = ()) -> Iterator[ConnectedOrthanc]:
    """Run both until the end."""
    connected = ConnectedOrthanc(folder, senders)
    try:
        connected.start()
        yield connected
    finally:
        connected.kill()


@contextmanager
def explorer_page(browser: Browser) -> Iterator[Page]:
    """Open a page for Orthanc Explorer, as large as its pictures are."""
    context = browser.new_context(viewport={"width": 1100, "height": 700})
    try:
        yield context.new_page()
    finally:
        context.close()
