"""`lobar demo`, as `make demo` runs it: a table and a status, independent of the configuration."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import UID
from support.lobar_process import NOT_REQUIRED, folder_that_hides

ROOT = Path(__file__).resolve().parents[2]


def demo(folder: Path, *files: Path) -> subprocess.CompletedProcess[str]:
    path = f"PYTHONPATH={folder_that_hides(NOT_REQUIRED, folder)}"
    configuration = ["LOBAR_DICOM__PORT=1", "LOBAR_LEDGER__URL=postgresql://none/"]
    command = ["env", "COLUMNS=160", path, *configuration]
    return subprocess.run(
        [*command, sys.executable, "-m", "service.cli", "demo", *files],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=250,
    )


@pytest.mark.full  # the ordinary run has the installed wheel's demonstration of them
def test_the_samples_are_reported_and_the_reports_are_where_the_table_says(
    tmp_path: Path,
) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if ".dcm" in line and "/" in line]
    samples = sorted(path.name for path in (ROOT / "service" / "demo" / "samples").glob("*.dcm"))
    assert [row[0] for row in rows] == samples
    assert {row[1] for row in rows} >= {"present", "absent"}
    for _name, _finding, probability, report, seconds in rows:
        assert dcmread(report, force=True).Modality == "SR"
        assert 0 <= float(probability) <= 1
        assert float(seconds) > 0
    assert "Not a medical device" in done.stdout


def test_a_file_that_cannot_be_reported_is_named_and_the_status_says_so(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>not a radiograph</html>")
    sample = ROOT / "service" / "demo" / "samples" / "cr_monochrome1.dcm"
    hand = dcmread(sample)
    hand.BodyPartExamined = "HAND"
    hand.SOPInstanceUID = hand.file_meta.MediaStorageSOPInstanceUID = UID("2.25.4711")
    hand.save_as(tmp_path / "hand.dcm")
    done = demo(tmp_path, page, tmp_path / "hand.dcm", sample)
    assert done.returncode == 1
    assert "neither DICOM nor PNG nor JPEG" in done.stdout
    assert "body part other than the chest" in done.stdout
    assert "absent" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
