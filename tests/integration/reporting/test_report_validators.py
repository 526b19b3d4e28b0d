"""Single reports, checked by dciodvfy and dsrdump; `test_report_matrix.py` has the matrix."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from synthetic.report_sources import NOW, element, item, predicted, radiograph

from service.domain.routing import OutputKind
from workers.prediction import Finding
from workers.reporting.output import Output, as_comprehensive
from workers.reporting.outputs import make_outputs
from workers.reporting.sr.report import build_report

PIXELS = np.zeros((250, 205), dtype=np.float32)
REQUEST = item(
    element("AccessionNumber", b"A-4711"),
    element("RequestedProcedureID", b"RP-1"),
    element("RequestedProcedureDescription", b"Thorax"),
    element("ScheduledProcedureStepID", b"SPS-1"),
)
PROCEDURE = item(
    element("CodeValue", b"399208008"),
    element("CodingSchemeDesignator", b"SCT"),
    element("CodeMeaning", b"Plain chest X-ray"),
)


def saved(output: Output, folder: Path) -> Path:
    path = folder / f"{output.sop_instance_uid}.dcm"
    path.write_bytes(output.encode())
    return path


def all_objects(source: Dataset, finding: Finding) -> list[Output]:
    made = list(make_outputs(source, PIXELS, predicted(finding), kinds=list(OutputKind), now=NOW))
    return [*made, as_comprehensive(made[0])]


def errors(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("Error")]


@pytest.mark.dciodvfy
def test_dciodvfy_finds_no_error_in_requests_and_sequences_that_are_carried(
    dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    source = radiograph(
        "DX",
        RequestAttributesSequence=REQUEST,
        ProcedureCodeSequence=PROCEDURE,
        TimezoneOffsetFromUTC=b"-0330",
        PixelSpacing=b"0.14\\0.14",
        BurnedInAnnotation=b"YES",
        LossyImageCompression=b"01",
    )
    for output in all_objects(source, Finding.PRESENT):
        assert errors(dciodvfy(saved(output, tmp_path))) == []


@pytest.mark.dciodvfy
@pytest.mark.parametrize(
    "wrong",
    [
        {"PatientSex": b"X"},
        {"PatientBirthDate": b"1970-01-02", "StudyDate": b"yesterday", "StudyTime": b"noon"},
        {"PatientName": b"N" * 200, "AccessionNumber": b"A" * 90},
        {"PatientAge": b"old"},
    ],
    ids=["sex", "dates", "long", "age"],
)
def test_what_dciodvfy_finds_wrong_is_only_what_was_wrong_in_the_source(
    wrong: dict[str, Any], dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    tags = {f"{tag_for_keyword(keyword):08x}" for keyword in wrong}
    for output in all_objects(radiograph(**wrong), Finding.ABSENT):
        for line in errors(dciodvfy(saved(output, tmp_path))):
            named = re.findall(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)", line)
            assert named, line
            assert {group + number for group, number in named} <= tags, line


@pytest.mark.dciodvfy
@pytest.mark.data
@pytest.mark.parametrize("finding", list(Finding))
def test_dciodvfy_finds_no_error_in_objects_about_a_real_radiograph(
    finding: Finding, dciodvfy: Callable[[Path], str], radiographs: Path, tmp_path: Path
) -> None:
    source = dcmread(radiographs / "dicom" / "chest_cr_mono1_jpeg2000.dcm", stop_before_pixels=True)
    for output in all_objects(source, finding):
        assert errors(dciodvfy(saved(output, tmp_path))) == []


def dumped(dsrdump: Path, path: Path) -> str:
    """Return a report as DCMTK prints it, in UTF-8, with codes and whole values."""
    return subprocess.run(
        [dsrdump, "--print-all-codes", "--print-long-values", "--convert-to-utf8", path],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("Latin", "Müller^Jörg"),
        ("Cyrillic", "Иванова^Анна"),
        ("UTF-8", "Łuczak^Zoë=王^小东"),
        ("Korean", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("Chinese", "Wang^XiaoDong=王^小东"),
    ],
)
def test_dcmtk_reads_the_patients_name_in_each_character_set_that_it_knows(
    names: str, name: str, program: Callable[[str], Path], tmp_path: Path
) -> None:
    report = build_report(radiograph(names=names), predicted(), now=NOW)
    assert name in dumped(program("dsrdump"), saved(report, tmp_path))
