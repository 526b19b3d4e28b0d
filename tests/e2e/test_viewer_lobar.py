"""OHIF straight from Lobar: the gateway in front of Lobar's own DICOMweb.

The gateway runs as docs/viewer.md says. The pictures are kept in `runs/viewer`, to be looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pytest
from peers.viewer import PAPER, WINDOW, OpenStudy, Pixels, ViewerGateway, lit, need_ohif
from playwright.sync_api import Browser
from pydicom.uid import JPEG2000Lossless
from support.study import KeptStudy, keep_study
from support.system.http import HTTP
from support.web_server import Web
from synthetic.objects import make_cr

from service.domain.routing import OutputKind
from service.domain.user import Role
from service.web.access import SESSION_COOKIE

pytestmark = pytest.mark.ohif

PICTURES: Final = Path(__file__).resolve().parents[2] / "runs" / "viewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What OHIF showed of a study."""

    radiograph: Pixels
    overlay: Pixels
    page: Pixels
    words: str
    lines: int
    complaints: list[str]
    asked_elsewhere: list[str]


@pytest.fixture(scope="module")
def lobar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("lobar") / "state").running() as running:
        yield running


@pytest.fixture(scope="module")
def viewer(lobar: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of OHIF in front of `lobar`, where it is a viewer's session."""
    need_ohif()
    folder = tmp_path_factory.mktemp("gateway")
    credentials = folder / "credentials"
    session = lobar.sign_in(Role.VIEWER).cookies[SESSION_COOKIE]
    credentials.write_text(f"Cookie: {SESSION_COOKIE}={session}\n")
    service = f"{lobar.client.base_url}/dicom-web"
    gateway = ViewerGateway(folder, ["--dicom-web", service, "--credentials", credentials])
    gateway.start()
    yield gateway.url
    gateway.stop()


@pytest.fixture(scope="module", params=["as it was sent", "compressed"])
def seen(request: pytest.FixtureRequest, lobar: Web, viewer: str, browser: Browser) -> Seen:
    source = make_cr()
    source.PatientID = request.param.replace(" ", "-")
    syntax = JPEG2000Lossless if request.param == "compressed" else None
    kept = keep_study(lobar, source, syntax)
    width, height = WINDOW
    context = browser.new_context(viewport={"width": width, "height": height})
    found = look(OpenStudy(context.new_page(), viewer, source.StudyInstanceUID), kept)
    context.close()
    return found


def look(study: OpenStudy, kept: KeptStudy) -> Seen:
    PICTURES.mkdir(parents=True, exist_ok=True)
    names = {kind: each.SeriesDescription for kind, each in kept.outputs.items()}
    radiograph = study.picture(PICTURES / "from-lobar-radiograph.png")
    study.open_report(names[OutputKind.SR])
    study.picture(PICTURES / "from-lobar-report.png")
    words, lines = study.words, len(study.lines())
    study.open_image(names[OutputKind.OVERLAY])
    overlay = study.picture(PICTURES / "from-lobar-overlay.png")
    study.open_page(names[OutputKind.PDF])
    return Seen(
        radiograph=radiograph,
        overlay=overlay,
        page=study.picture(PICTURES / "from-lobar-page.png"),
        words=words,
        lines=lines,
        complaints=study.complaints,
        asked_elsewhere=study.asked_elsewhere,
    )


def test_radiograph_report_overlay_and_page_are_shown(seen: Seen) -> None:
    assert lit(seen.radiograph) > 0.1
    assert "Certainty of Finding: 87.30 %" in seen.words
    assert seen.lines > 0
    assert lit(seen.overlay) > 0.1
    assert lit(seen.page, PAPER) > 0.1


def test_the_browser_complains_of_nothing_and_contacts_no_other_host(seen: Seen) -> None:
    assert seen.complaints == []
    assert seen.asked_elsewhere == []


def test_the_gateway_stores_nothing_in_lobar(viewer: str) -> None:
    answer = HTTP.post(f"{viewer}/dicom-web/studies", content=b"x")
    assert answer.status_code == httpx.codes.METHOD_NOT_ALLOWED


def test_credentials_that_are_none_are_an_error_in_words(tmp_path: Path) -> None:
    empty = tmp_path / "credentials"
    empty.write_text("no header\n")
    gateway = ViewerGateway(tmp_path, ["--credentials", empty], tmp_path)
    with pytest.raises(Exception, match="Authorization: Bearer"):
        gateway.start()
