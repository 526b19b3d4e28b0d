"""A real viewer: OHIF in a real browser, in front of a real Orthanc."""

import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from support.system.programs import missing

from peers.browser import Notes
from peers.orthanc import OrthancServer

ROOT: Final = Path(__file__).resolve().parents[2]
OHIF: Final = ROOT / ".cache" / "ohif" / "dist"
GATEWAY: Final = ROOT / "deploy" / "viewer" / "gateway.py"
WINDOW: Final = (1600, 900)
PATIENCE_SECONDS: Final = 30  # for a busy machine; every wait ends as soon as it can
AFTERTHOUGHT_MILLISECONDS: Final = 1000  # OHIF may send requests or messages a little after drawing
NOTICES_HIDDEN: Final = "[data-sonner-toaster] { visibility: hidden }"
LIT: Final = 40  # of 255: brighter than OHIF's own background
PAPER: Final = 250

Pixels = NDArray[np.uint8]
Line = list[tuple[float, float]]


class ViewerGateway(Server):
    """`deploy/viewer/gateway.py` in front of an Orthanc; `url` is the page to open.

    Instead of an Orthanc it may be in front of the options of another service.
    """

    def __init__(
        self, folder: Path, service: OrthancServer | list[str | Path], ohif: Path = OHIF
    ) -> None:
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        of_service: list[str | Path] = (
            ["--orthanc", service.http_url] if isinstance(service, OrthancServer) else service
        )
        behind = [*of_service, "--ohif", ohif]
        super().__init__(
            [sys.executable, GATEWAY, "--port", str(port), *behind],
            log=folder / "gateway.log",
            answers=lambda: accepts_connections(port),
        )


class OpenStudy:
    """A study open in OHIF: the actions of a user, what is visible, and the errors recorded."""

    def __init__(self, page: Page, viewer_url: str, study_instance_uid: str) -> None:
        self._page = page
        notes = Notes(page, viewer_url)
        self.complaints = notes.complaints
        self.asked_elsewhere = notes.asked_elsewhere
        page.goto(f"{viewer_url}/viewer?StudyInstanceUIDs={study_instance_uid}")
        self._series = page.locator("[data-cy^=study-browser-thumbnail]")
        self._viewport = page.locator("[data-cy=viewport-pane]")
        self._wait_until(lambda: lit(self.picture()) > 0)

    def open_image(self, description: str) -> None:
        """Show a series of images as a user does: by a double click in the study panel."""
        before = self.picture()
        self._series.filter(has_text=description).dblclick()
        self._wait_until(lambda: description in self.words and lit(self.picture()) > 0)
        self._wait_until(lambda: not np.array_equal(before, self.picture()))

    def open_report(self, description: str) -> None:
        """Show a series of reports the same way: drawn on the image, or as text."""
        self._series.filter(has_text=description).dblclick()
        self._wait_until(lambda: bool(self.lines() or self._is_text() or self.notices))
        self._page.wait_for_timeout(AFTERTHOUGHT_MILLISECONDS)

    def open_page(self, description: str) -> None:
        """Show a document the same way, in the browser's own reader."""
        self._series.filter(has_text=description).dblclick()
        self._wait_until(lambda: lit(self.picture(), PAPER) > 0.1)

    @property
    def words(self) -> str:
        """The text in the viewport that is not part of an image."""
        return self._viewport.inner_text()

    @property
    def notices(self) -> list[str]:
        """The viewer's own notices and questions."""
        return self._page.locator(
            "[data-sonner-toast], [data-cy=viewport-notification]"
        ).all_inner_texts()

    def lines(self) -> list[Line]:
        """Return the lines drawn over the image, as points in pixels of their layer."""
        drawn = self._page.locator("svg.svg-layer polyline").all()
        return [_line(each.get_attribute("points") or "") for each in drawn]

    def layer_size(self) -> tuple[float, float]:
        """Return width and height of the layer of these lines, in pixels."""
        box = self._page.locator("svg.svg-layer").bounding_box()
        assert box is not None
        return box["width"], box["height"]

    def picture(self, file: Path | None = None) -> Pixels:
        """Capture the viewport, rows x columns x RGB, and keep it in a file.

        The viewer's own `notices` are left out where they cover it.
        """
        shot = self._viewport.screenshot(path=file, style=NOTICES_HIDDEN)
        return np.asarray(Image.open(BytesIO(shot)).convert("RGB"))

    def _is_text(self) -> bool:
        return self._viewport.locator("canvas").count() == 0 and bool(self.words.strip())

    def _wait_until(self, fact: Callable[[], bool]) -> None:
        """Wait for a condition, for a limited time; the test's own check explains a failure.

        OHIF sometimes draws a report only at its next repaint, so one is forced meanwhile.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        width, height = WINDOW
        while not fact() and time.monotonic() < until:
            height ^= 1
            self._page.set_viewport_size({"width": width, "height": height})
            self._page.wait_for_timeout(200)


def lit(picture: Pixels, above: int = LIT) -> float:
    """Return the share of a viewport brighter than OHIF's background, its frame excluded."""
    return float((picture[10:-10, 10:-10].max(axis=2) > above).mean())


def _line(points: str) -> Line:
    """Read SVG's "x, y x, y ..."."""
    numbers = [float(number) for number in points.replace(",", " ").split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def need_ohif() -> None:
    """Skip the test without OHIF, or fail it when CI=true."""
    if not OHIF.is_dir():
        missing("no OHIF here: deploy/setup/ohif.sh fetches it")


@pytest.fixture(scope="session")
def viewer_url(
    _shared_orthanc_dicomweb: OrthancServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of OHIF in front of `orthanc_dicomweb`. Mark the test `ohif`."""
    need_ohif()
    gateway = ViewerGateway(tmp_path_factory.mktemp("viewer"), _shared_orthanc_dicomweb)
    gateway.start()
    yield gateway.url
    gateway.stop()


@pytest.fixture(scope="module")
def open_study(browser: Browser, viewer_url: str) -> Iterator[Callable[[str], OpenStudy]]:
    """`open_study(uid)` opens a study in a browser without state from the one before."""
    contexts = []

    def open_it(study_instance_uid: str) -> OpenStudy:
        width, height = WINDOW
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        return OpenStudy(contexts[-1].new_page(), viewer_url, study_instance_uid)

    yield open_it
    for context in contexts:
        context.close()
