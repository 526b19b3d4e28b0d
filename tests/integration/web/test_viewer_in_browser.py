"""The viewer of a radiograph in Chromium: every control changes what the canvas shows."""

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from pydicom.dataset import Dataset
from support.purged import purge_finished
from support.routes import to
from support.web_server import Web
from synthetic.objects import make_cr, make_sc
from synthetic.part10 import part10

from service.decoding.display import display_of
from service.decoding.greys import greys_of
from service.decoding.pixel_data import read_frame
from service.domain.delivery import OutputRecord
from service.domain.evidence import AttentionMap, Evidence, Region
from service.domain.job import ConclusionRecord, Source
from service.domain.user import Role
from service.receiving.acceptance import Rejection
from service.receiving.ingest import Ingest
from service.web.access import SESSION_COOKIE

pytestmark = pytest.mark.slow

Pixels = NDArray[np.uint8]

WINDOW: Final = {"width": 1200, "height": 1000}
PATIENCE_MS: Final = 30_000  # for a busy machine; every wait ends as soon as it can
OVERLAY: Final = OutputRecord(
    kind="overlay", sop_class_uid="1.2.840.10008.5.1.4.1.1.7", sop_instance_uid="2.25.88"
)
SPOT: Final = np.exp(-((np.mgrid[0:14, 0:14] - np.array([9, 4])[:, None, None]) ** 2).sum(0) / 8)
SEEN: Final = Evidence(
    region=Region(top=0.5, left=0.2, bottom=0.8, right=0.45),
    attention=AttentionMap(rows=14, columns=14, values=tuple(map(float, SPOT.ravel()))),
)


@dataclass
class OpenViewer:
    """The viewer on a page: what a user does with it, and what the canvas shows."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, address: str) -> str:
        """Open a job's page, and return how loading its radiograph ended."""
        self.page.goto(address)
        state = self.page.wait_for_selector("[data-viewer][data-state]")
        assert state is not None
        return state.get_attribute("data-state") or ""

    def pixels(self) -> Pixels:
        """Return what the canvas shows once it shows the same for a while."""
        before = self._read()
        while True:
            self.page.wait_for_timeout(250)
            now = self._read()
            if np.array_equal(before, now):
                return now
            before = now

    def _read(self) -> Pixels:
        url = self.page.evaluate("document.querySelector('canvas').toDataURL('image/png')")
        content = base64.b64decode(url.partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def press(self, *keys: str) -> None:
        self.page.locator("canvas").focus()
        for key in keys:
            self.page.keyboard.press(key)

    def drag(self, right: int, down: int, **options: Any) -> None:  # noqa: ANN401 -- of the mouse
        box = self.page.locator("canvas").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down(**options)
        self.page.mouse.move(x + right / 2, y + down / 2)
        self.page.mouse.move(x + right, y + down)
        self.page.mouse.up(**options)

    def slide(self, percent: int) -> None:
        self.page.get_by_role("slider", name="Attention map").fill(str(percent))

    @property
    def window(self) -> tuple[float, float]:
        """The centre and width in the fields."""
        values = [self.page.get_by_label(name).input_value() for name in ("Centre", "Width")]
        return float(values[0]), float(values[1])

    def pressed(self, name: str) -> bool:
        button = self.page.get_by_role("button", name=name, exact=True)
        return button.get_attribute("aria-pressed") == "true"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("web") / "state").running() as running:
        yield running


def context_of(browser: Browser, web: Web, **options: Any) -> BrowserContext:  # noqa: ANN401 -- its own
    client = web.sign_in(Role.VIEWER)
    context = browser.new_context(**{"viewport": WINDOW, **options})
    address = str(client.base_url)
    cookie = client.cookies[SESSION_COOKIE]
    context.add_cookies([{"name": SESSION_COOKIE, "value": cookie, "url": address}])
    return context


@pytest.fixture
def viewer(browser: Browser, web: Web) -> Iterator[OpenViewer]:
    context = context_of(browser, web)
    yield OpenViewer(context.new_page())
    context.close()


def received(web: Web, dataset: Dataset) -> str:
    arrived = web.spool.incoming / f"{dataset.SOPInstanceUID}"
    arrived.write_bytes(part10(dataset))
    receipt = Ingest(web.spool, web.ledger, lambda: None).receive(arrived, source=Source.UPLOAD)
    assert not isinstance(receipt, Rejection)
    return receipt.job_id


def reported(web: Web, dataset: Dataset, finding: str = "present") -> str:
    """Return the address of the page of a job that is reported with an overlay."""
    job_id = received(web, dataset)
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=600, maximum_attempts=3)
    overlay = part10(overlay_picture())
    web.spool.put_output(job_id, "overlay", OVERLAY.sop_instance_uid, overlay)
    conclusion = ConclusionRecord(
        finding=finding, probability=0.9, operating_point="balanced", model="pneumonia 1.2"
    )
    seen = SEEN if finding == "present" else Evidence(attention=SEEN.attention)
    web.ledger.jobs.report(job, conclusion, [OVERLAY], to(["pacs"]), evidence=seen)
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=600)
    web.ledger.deliveries.delivered(delivery, status=0)
    return f"{web.client.base_url}/jobs/{job_id}"


def overlay_picture() -> Dataset:
    overlay = make_sc(photometric="RGB", rows=200, columns=300)
    pixels = np.random.default_rng(5).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    overlay.PixelData = pixels.tobytes()
    return overlay


def radiograph(**changes: object) -> Dataset:
    dataset = make_cr(photometric="MONOCHROME1")
    dataset.WindowCenter, dataset.WindowWidth = [2600, 3000], [2400, 1000]
    dataset.WindowCenterWidthExplanation = ["NORMAL", "<b>HARD</b>"]
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def levels_of(folder: Path, dataset: Dataset) -> Pixels:
    """Return the brightness that the server's own picture has of each of the 65536 samples."""
    path = folder / "given.dcm"
    path.write_bytes(part10(dataset))
    frame = read_frame(path)
    greys = greys_of(frame)
    return display_of(frame.dataset, greys).levels(greys)


def middle(pixels: Pixels, rows: int, columns: int) -> NDArray[np.int64]:
    # the viewer rounds half a pixel up
    top, left = (pixels.shape[0] - rows + 1) // 2, (pixels.shape[1] - columns + 1) // 2
    return pixels[top : top + rows, left : left + columns].astype(np.int64)


def is_grey(pixels: Pixels) -> bool:
    return bool((pixels == pixels[:, :, :1]).all())


def test_at_one_to_one_the_canvas_shows_the_values_in_the_tones_of_the_header(
    viewer: OpenViewer, web: Web, tmp_path: Path
) -> None:
    dataset = radiograph()
    assert viewer.open(reported(web, dataset)) == "ready"
    viewer.slide(0)
    viewer.page.get_by_role("checkbox", name="Region").uncheck()
    viewer.click("1:1")
    shown = middle(viewer.pixels(), dataset.Rows, dataset.Columns)
    values = dataset.pixel_array
    expected = levels_of(tmp_path, dataset)[values - values.min()].astype(np.int64)
    assert np.array_equal(shown[:, :, 0], expected)
    assert viewer.complaints == []


def test_every_control_changes_what_is_shown_and_reset_takes_it_back(
    viewer: OpenViewer, web: Web
) -> None:
    viewer.open(reported(web, radiograph()))
    at_first = viewer.pixels()
    assert viewer.window == (2600, 2400)
    shown = [at_first]

    def changes(action: Callable[[], object]) -> Pixels:
        action()
        now = viewer.pixels()
        assert not np.array_equal(now, shown[-1]), action
        shown.append(now)
        return now

    changes(lambda: viewer.drag(0, -120))
    assert viewer.window[0] > 2600, "up is brighter, and the tones are inverted"
    changes(lambda: viewer.drag(120, 0))
    assert viewer.window[1] > 2400
    for keys in ("Shift+ArrowUp", "Shift+ArrowRight", "+", "ArrowLeft", "ArrowDown", "-", "1", "0"):
        changes(partial(viewer.press, keys))
    changes(lambda: viewer.click("Zoom in"))
    changes(lambda: viewer.click("Zoom out"))
    viewer.page.locator("canvas").hover()
    changes(lambda: viewer.page.mouse.wheel(0, -300))
    viewer.click("Move")
    centre = viewer.window
    changes(lambda: viewer.drag(80, 40))
    assert viewer.window == centre, "the tool is another one"
    viewer.click("Window")
    changes(lambda: viewer.drag(60, 30, button="middle"))
    assert viewer.window == centre
    changes(lambda: viewer.click("Fit"))
    changes(lambda: viewer.page.get_by_label("Tones").select_option("Header: <b>HARD</b>"))
    assert viewer.window == (3000, 1000)
    viewer.page.get_by_label("Centre").fill("2000")
    changes(lambda: viewer.page.keyboard.press("Enter"))
    changes(lambda: viewer.page.get_by_label("Tones").select_option("All values"))
    changes(lambda: viewer.page.get_by_role("checkbox", name="Region").uncheck())
    changes(lambda: viewer.slide(90))
    changes(lambda: viewer.press("["))
    changes(lambda: viewer.press("r"))
    assert np.array_equal(shown[-1], at_first)
    assert viewer.complaints == []


def test_inverting_exchanges_black_and_white_and_says_so(viewer: OpenViewer, web: Web) -> None:
    viewer.open(reported(web, radiograph()))
    viewer.slide(0)
    viewer.page.get_by_role("checkbox", name="Region").uncheck()
    viewer.click("1:1")
    before = middle(viewer.pixels(), 300, 200)
    assert not viewer.pressed("Invert")
    viewer.click("Invert")
    after = middle(viewer.pixels(), 300, 200)
    assert np.abs(before + after - 255).max() <= 2
    assert viewer.pressed("Invert")
    viewer.press("i")
    assert np.array_equal(middle(viewer.pixels(), 300, 200), before)


def test_the_attention_map_tints_the_place_of_the_evidence_and_no_other(
    viewer: OpenViewer, web: Web
) -> None:
    dataset = radiograph()
    viewer.open(reported(web, dataset))
    viewer.page.get_by_role("checkbox", name="Region").uncheck()
    viewer.slide(0)
    assert is_grey(viewer.pixels())
    viewer.click("1:1")
    viewer.slide(100)
    shown = middle(viewer.pixels(), dataset.Rows, dataset.Columns)
    tint = (shown.max(axis=2) - shown.min(axis=2)).astype(np.float64)
    row, column = np.unravel_index(tint.argmax(), tint.shape)
    assert row / dataset.Rows == pytest.approx(9.5 / 14, abs=0.12)
    assert column / dataset.Columns == pytest.approx(4.5 / 14, abs=0.12)
    assert tint[: dataset.Rows // 4].max() < 20
    assert viewer.page.get_by_text("100 %").is_visible()


def test_the_region_is_drawn_at_its_place(viewer: OpenViewer, web: Web) -> None:
    dataset = radiograph()
    viewer.open(reported(web, dataset))
    viewer.slide(0)
    viewer.click("1:1")
    shown = middle(viewer.pixels(), dataset.Rows, dataset.Columns)
    rows, columns = np.nonzero(shown[:, :, 0] - shown[:, :, 2] > 100)
    found = rows.min(), columns.min(), rows.max(), columns.max()
    assert SEEN.region is not None
    edges = SEEN.region.top, SEEN.region.left, SEEN.region.bottom, SEEN.region.right
    sides = dataset.Rows, dataset.Columns, dataset.Rows, dataset.Columns
    wanted = [edge * side for edge, side in zip(edges, sides, strict=True)]
    assert found == pytest.approx(wanted, abs=4)


def test_the_overlay_is_shown_pixel_for_pixel(viewer: OpenViewer, web: Web) -> None:
    viewer.open(reported(web, radiograph()))
    before = viewer.pixels()
    viewer.click("Overlay as sent")
    viewer.page.wait_for_selector('[data-picture="overlay"][aria-pressed="true"]')  # it is loaded
    viewer.click("1:1")
    shown = middle(viewer.pixels(), 200, 300)
    assert np.array_equal(shown, overlay_picture().pixel_array)
    assert viewer.pressed("Overlay as sent")
    assert viewer.page.get_by_label("Centre").is_disabled()
    viewer.press("o")
    assert np.array_equal(viewer.pixels(), before)
    assert viewer.complaints == []


def test_the_line_below_gives_the_value_under_the_pointer(viewer: OpenViewer, web: Web) -> None:
    dataset = radiograph()
    viewer.open(reported(web, dataset))
    viewer.click("1:1")
    box = viewer.page.locator("canvas").bounding_box()
    assert box is not None
    viewer.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    row, column = dataset.Rows // 2, dataset.Columns // 2
    near = dataset.pixel_array[row - 1 : row + 2, column - 1 : column + 2]
    line = viewer.page.locator("[data-part=place]").inner_text()
    place, _, value = line.removesuffix(".").partition(": ")
    assert place in {
        f"Row {r}, column {c}"
        for r in range(row - 1, row + 3)
        for c in range(column - 1, column + 3)
    }
    assert near.min() <= float(value) <= near.max()


def test_the_viewer_fills_the_window_and_gives_it_back(viewer: OpenViewer, web: Web) -> None:
    viewer.open(reported(web, radiograph()))
    before = viewer.pixels().shape
    viewer.press("f")
    assert viewer.pixels().shape[1] > before[1]
    assert viewer.pressed("Full window")
    viewer.press("f")
    assert viewer.pixels().shape == before
    assert not viewer.pressed("Full window")


def test_two_fingers_zoom_and_one_finger_changes_the_tones(browser: Browser, web: Web) -> None:
    context = context_of(browser, web, viewport={"width": 360, "height": 740}, has_touch=True)
    viewer = OpenViewer(context.new_page())
    viewer.open(reported(web, radiograph()))
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 360
    viewer.page.locator("canvas").scroll_into_view_if_needed()
    before, tones = viewer.pixels(), viewer.window
    box = viewer.page.locator("canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = context.new_cdp_session(viewer.page)

    def put(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x + dx, "y": y + dy, "id": n} for n, (dx, dy) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    put("touchStart", (-20, 0), (20, 0))
    put("touchMove", (-60, 0), (60, 0))
    put("touchEnd")
    zoomed = viewer.pixels()
    assert not np.array_equal(zoomed, before)
    assert viewer.window == tones
    put("touchStart", (0, 0))
    put("touchMove", (0, -40))
    put("touchMove", (0, -80))
    put("touchEnd")
    assert not np.array_equal(viewer.pixels(), zoomed)
    assert viewer.window != tones
    assert viewer.complaints == []
    context.close()


def test_an_absent_finding_has_no_box_and_a_map_that_is_hidden_at_first(
    viewer: OpenViewer, web: Web
) -> None:
    viewer.open(reported(web, radiograph(), finding="absent"))
    assert is_grey(viewer.pixels())
    assert viewer.page.get_by_role("checkbox", name="Region").count() == 0
    assert viewer.page.get_by_text("a place that is tinted there is no finding").is_visible()
    viewer.slide(80)
    assert not is_grey(viewer.pixels())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_viewer_is_accessible_by_axe_in_both_themes(
    browser: Browser, web: Web, scheme: str
) -> None:
    context = context_of(browser, web, color_scheme=scheme)
    viewer = OpenViewer(context.new_page())
    viewer.open(reported(web, radiograph()))
    found = Axe().run(viewer.page, context=".viewer")
    assert found.violations_count == 0, found.generate_report()
    context.close()


def test_without_javascript_the_picture_and_the_region_are_on_the_page(
    browser: Browser, web: Web
) -> None:
    context = context_of(browser, web, java_script_enabled=False)
    page = context.new_page()
    page.goto(reported(web, radiograph()))
    shown = np.asarray(
        Image.open(io.BytesIO(page.locator(".viewer-still").screenshot())).convert("RGB")
    ).astype(np.int64)
    assert shown[:, :, 1].std() > 20
    rows, columns = np.nonzero(shown[:, :, 0] - shown[:, :, 2] > 100)
    assert rows.min() / shown.shape[0] == pytest.approx(0.5, abs=0.02)
    assert columns.max() / shown.shape[1] == pytest.approx(0.45, abs=0.02)
    assert page.get_by_role("link", name="The overlay as sent").is_visible()
    assert not page.get_by_role("button", name="Invert").is_visible()
    context.close()


def test_a_radiograph_that_cannot_be_shown_is_said_in_words(viewer: OpenViewer, web: Web) -> None:
    address = reported(web, radiograph(NumberOfFrames=2))
    assert viewer.open(address) == "failed"
    assert "more than one frame" in viewer.page.get_by_role("status").inner_text()
    assert not viewer.page.get_by_role("button", name="Invert").is_visible()


def test_pixels_that_are_gone_are_said_to_be(viewer: OpenViewer, web: Web) -> None:
    address = reported(web, radiograph())
    job_id = address.rpartition("/")[2]
    web.spool.discard(job_id)
    assert job_id in purge_finished(web.ledger), "and what other tests have finished"
    viewer.page.goto(address)
    assert viewer.page.get_by_text("Retention has removed the pixels").is_visible()
    assert viewer.page.locator("canvas").count() == 0


def table(curve: NDArray[np.float64]) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(curve), 0, 16]
    item.LUTData = np.rint(curve * 65535).astype("<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return item


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"VOILUTFunction": "SIGMOID"},
        {"VOILUTFunction": "LINEAR_EXACT", "PhotometricInterpretation": "MONOCHROME2"},
        {"VOILUTSequence": [table((np.arange(4096) / 4095) ** 2)]},
        {"RescaleSlope": "-0.5", "RescaleIntercept": "3000", "WindowCenter": 1700},
        {"PixelPaddingValue": 4095, "WindowWidth": None},
    ],
)
def test_the_tones_are_those_of_the_server_s_own_picture(
    viewer: OpenViewer, web: Web, tmp_path: Path, changes: dict[str, Any]
) -> None:
    dataset = radiograph(**changes)
    address = reported(web, dataset)
    viewer.page.goto(address)
    table = viewer.page.evaluate(
        """async (address) => {
            const { pixelTable } = await import("/static/viewer_samples.js");
            const description = await (await fetch(address)).json();
            return [...pixelTable(description, description)].map((pixel) => pixel & 255);
        }""",
        f"{address}/radiograph.json",
    )
    expected = levels_of(tmp_path, dataset).astype(np.int64)
    assert np.abs(np.array(table) - expected).max() <= 1


def test_on_a_phone_and_on_paper_the_film_has_no_empty_field_beside_it(
    browser: Browser, web: Web
) -> None:
    context = context_of(browser, web, viewport={"width": 360, "height": 740})
    viewer = OpenViewer(context.new_page())
    viewer.open(reported(web, radiograph()))
    description = viewer.page.evaluate(
        "fetch(document.querySelector('[data-viewer]').dataset.radiograph + '.json')"
        ".then((response) => response.json())"
    )
    stage = viewer.page.locator(".viewer-stage").bounding_box()
    assert stage is not None
    film = description["original_columns"] / description["original_rows"]
    assert stage["width"] / stage["height"] == pytest.approx(film, rel=0.01)
    viewer.page.emulate_media(media="print")
    assert viewer.page.locator(".viewer-still img").is_visible()
    for hidden in ("canvas", ".viewer-tools", ".viewer-status", ".viewer-line"):
        assert not any(each.is_visible() for each in viewer.page.locator(hidden).all())
    context.close()
