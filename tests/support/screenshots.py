"""Take the pictures of docs/pages and docs/connect, and write docs/pages.md: `make screenshots`.

The service is a whole one with the synthetic samples of `lobar demo`; no picture shows a person.
"""

import io
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from peers.browser import DESK, PHONE, THEMES, Look, chromium
from PIL import Image
from playwright.sync_api import Browser

from service.storage.ledger.database import Database
from support.connected_orthanc import connected_orthanc, explorer_page
from support.filled_ledger import fill, fill_monitoring
from support.pages import ON_A_PHONE, PAGES, PageCase, page_routes
from support.pages_service import ROOT, PagesService, running_pages_service
from support.web_server import Web

DOCUMENT: Final = ROOT / "docs" / "pages.md"
PICTURES: Final = ROOT / "docs" / "pages"
MOST_BYTES: Final = 120_000
ORTHANC: Final = ROOT / "docs" / "connect"
_TALLEST: Final = 1400  # pixels; a longer page is cut off
_FILLED: Final = ("quality", "shadow")  # pages of many jobs, in the order of the table
_COLOURS: Final = (128, 64, 32)  # of the palette, the first that is small enough
_INTRODUCTION: Final = """# The pages

Every page in both themes, 1280 pixels wide; `make screenshots` renews them and this document. The
films are the synthetic samples of `lobar demo`, and no picture shows a person.

How the pages look and why: [adr/0049](adr/0049-looks.md).
"""


def pictures_of(case: PageCase) -> list[str]:
    """Return the names of a page's pictures."""
    phone = [f"{case.name}-phone.png"] if case.name in ON_A_PHONE else []
    return [*(f"{case.name}-{theme}.png" for theme in THEMES), *phone]


def document(cases: Iterable[PageCase]) -> str:
    """Return the text of docs/pages.md for the pages that there are."""
    return "\n".join([_INTRODUCTION, *map(_section, cases)])


def cases_of(routes: set[str]) -> list[PageCase]:
    """Return the pages of the table that an application has."""
    return [each for each in PAGES if not each.route or each.route in routes]


def main() -> None:
    """Take every picture, and write the document."""
    with tempfile.TemporaryDirectory(prefix="lobar-screenshots-") as name:
        folder = Path(name)
        with Web(folder / "web").running() as web:
            cases = cases_of(page_routes(web.routes))
        PICTURES.mkdir(exist_ok=True)
        with running_pages_service(folder) as pages, chromium() as browser:
            for case in sorted(cases, key=lambda each: each.name in _FILLED):
                if case.name == _FILLED[0]:  # last: it fills the ledger
                    _fill(pages)
                for file, content in _take(pages, browser, case):
                    file.write_bytes(content)
                    sys.stderr.write(f"{file.relative_to(ROOT)}: {len(content):,} bytes\n")
    DOCUMENT.write_text(document(cases))
    take_orthanc()


def take_orthanc() -> None:
    """Take the pictures of Orthanc Explorer as docs/connect/orthanc.md goes through it."""
    with (
        tempfile.TemporaryDirectory(prefix="lobar-screenshots-") as name,
        connected_orthanc(Path(name)) as connected,
        chromium() as browser,
        explorer_page(browser) as page,
    ):
        study = str(connected.keep_radiograph().StudyInstanceUID)
        connected.open_study(page, study)
        connected.choose_lobar(page)
        (ORTHANC / "orthanc-send.png").write_bytes(small_png(page.screenshot()))
        connected.send(page)
        connected.wait_for_results(study)
        connected.open_study(page, study)
        page.wait_for_timeout(1000)  # the list is filled by the page's own script
        (ORTHANC / "orthanc-study.png").write_bytes(small_png(page.screenshot()))


def _section(case: PageCase) -> str:
    address = f"`{case.route}`" if case.route else "A wrong address"
    shown = [f"![{case.name}, {_look(file)}](pages/{file})" for file in pictures_of(case)]
    return "\n".join(
        [f"## {case.name.capitalize()}", "", f"{address}. {case.sentence}", "", *shown, ""]
    )


def _look(file: str) -> str:
    look = file.removesuffix(".png").rpartition("-")[2]
    return "on a phone" if look == "phone" else f"{look} theme"


def _take(pages: PagesService, browser: Browser, case: PageCase) -> Iterator[tuple[Path, bytes]]:
    looks = [Look(theme=theme, size=DESK) for theme in THEMES]
    if case.name in ON_A_PHONE:
        looks.append(Look(theme="dark", size=PHONE))
    for file, look in zip(pictures_of(case), looks, strict=True):
        with pages.opened(browser, case, look) as opened:
            opened.page.wait_for_load_state("load")
            opened.page.wait_for_timeout(500)  # what a page's own script fetches
            yield PICTURES / file, small_png(opened.page.screenshot(full_page=True))


def small_png(picture: bytes) -> bytes:
    """Return a picture with a palette, cut off where it is very tall.

    Raises:
        ValueError: it is too large even with the smallest palette.
    """
    whole = Image.open(io.BytesIO(picture)).convert("RGB")
    shown = whole.crop((0, 0, whole.width, min(whole.height, _TALLEST)))
    for colours in _COLOURS:
        stream = io.BytesIO()
        shown.quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
        if stream.tell() <= MOST_BYTES:
            return stream.getvalue()
    raise ValueError(f"{stream.tell()} bytes")


def _fill(pages: PagesService) -> None:
    """Make up the counts of half a year, for the plots of the quality page."""
    url = f"sqlite:///{pages.lobar.state_dir}/ledger.sqlite3"
    with closing(Database(url)) as database:
        fill(database, jobs=6000, verdicts=600, until=time.time())
        fill_monitoring(database)


if __name__ == "__main__":
    main()
