"""`make viewer`: every study can be opened, and nothing is left at the end."""

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from peers.orthanc import need_dicomweb_plugin
from peers.viewer import need_ohif
from pydicom import dcmread
from pydicom.uid import UID
from support.lobar_process import wait_for
from support.system.http import HTTP
from support.system.process import Server
from support.system.programs import need_program

pytestmark = [pytest.mark.orthanc, pytest.mark.ohif]

ROOT: Final = Path(__file__).resolve().parents[2]
SHOW: Final = ROOT / "deploy" / "viewer" / "show.py"
SAMPLE: Final = ROOT / "service" / "demo" / "samples" / "cr_monochrome1.dcm"


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    """A file that Lobar refuses to analyse."""
    instance = dcmread(SAMPLE)
    instance.BodyPartExamined = "HAND"
    instance.StudyInstanceUID = "2.25.4710"
    instance.SOPInstanceUID = instance.file_meta.MediaStorageSOPInstanceUID = UID("2.25.4711")
    instance.save_as(tmp_path / "hand.dcm")
    return tmp_path / "hand.dcm"


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The folder for temporary directories; a short path, for the sockets in it."""
    folder = tmp_path / "t"
    folder.mkdir()
    return folder


@pytest.fixture
def shown(hand: Path, temporary: Path, tmp_path: Path) -> Iterator[Server]:
    """The viewer with a chest and a hand, started in another folder and ready."""
    need_program("Orthanc")
    need_dicomweb_plugin()
    need_ohif()
    server = Server(
        ["env", f"TMPDIR={temporary}", "LOBAR_DICOM__PORT=1", sys.executable, SHOW, SAMPLE, hand],
        log=tmp_path / "show.log",
        answers=lambda: True,
        stop_signal=signal.SIGINT,
    )
    server.start()
    wait_for(lambda: "All studies: " in server.log.read_text() or not server.running)
    yield server
    server.stop()


def test_each_file_can_be_viewed_until_everything_is_removed(
    shown: Server, temporary: Path
) -> None:
    output = shown.log.read_text()
    assert "cr_monochrome1.dcm: absent" in output
    assert "hand.dcm: not analysed" in output
    addresses = re.findall(r"(http://127\.0\.0\.1:\d+)/viewer\?StudyInstanceUIDs=([\d.]+)", output)
    assert len(addresses) == 2
    for viewer, study in addresses:
        assert "app-config.js" in HTTP.get(f"{viewer}/viewer?StudyInstanceUIDs={study}").text
        assert modalities(viewer, study) == ["CR", "DOC", "OT", "SR"]

    assert list(temporary.iterdir()) != []
    shown.stop()
    assert list(temporary.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        HTTP.get(addresses[0][0])


def modalities(viewer: str, study: str) -> list[str]:
    series: list[dict[str, Any]] = HTTP.get(f"{viewer}/dicom-web/studies/{study}/series").json()
    return sorted(each["00080060"]["Value"][0] for each in series)
