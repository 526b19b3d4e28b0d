"""What other people's programs say of our objects: dciodvfy, PixelMed's validator, dsrdump."""

import itertools
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from report_sources import (
    NAMES,
    NOW,
    SOP_CLASSES,
    element,
    item,
    predicted,
    radiograph,
    received,
    values,
)

from workers.output import Output, as_comprehensive
from workers.overlay import build_overlay
from workers.prediction import Finding
from workers.report import build_report
from workers.report_header import TYPE_2

PIXELS = np.zeros((250, 205), dtype=np.float32)
KNOWN_NAMES = [each for each in NAMES if not each.startswith(("one", "none", "no "))]
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
    report = build_report(source, predicted(finding), now=NOW)
    overlay = build_overlay(source, PIXELS, predicted(finding), now=NOW)
    return [report, as_comprehensive(report), overlay]


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("Error")]


@pytest.mark.dciodvfy
@pytest.mark.parametrize("names", KNOWN_NAMES)
def test_dciodvfy_finds_no_error_in_any_object_about_any_kind_of_source(
    names: str, dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    findings = itertools.cycle(Finding)
    for kind, photometric in itertools.product(SOP_CLASSES, ("MONOCHROME1", "MONOCHROME2")):
        source = received(values(kind, names, photometric))
        for output in all_objects(source, next(findings)):
            said = dciodvfy(saved(output, tmp_path))
            assert said.splitlines(), "dciodvfy names at least the IOD"
            assert errors(said) == [], f"{names}, {kind}, {output.kind}"


@pytest.mark.dciodvfy
@pytest.mark.parametrize("finding", list(Finding))
def test_dciodvfy_finds_no_error_where_the_source_lacks_all_that_may_be_absent(
    finding: Finding, dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    absent = (*TYPE_2, "PatientOrientation", "ImagerPixelSpacing", "BodyPartExamined")
    source = radiograph(**dict.fromkeys((*absent, "PatientAge", "Rows", "Modality")))
    for output in all_objects(source, finding):
        assert errors(dciodvfy(saved(output, tmp_path))) == []


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
    wrong: dict[str, bytes], dciodvfy: Callable[[Path], str], tmp_path: Path
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


@pytest.mark.pixelmed
def test_pixelmed_finds_no_error_in_a_report_of_each_shape(
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]], tmp_path: Path
) -> None:
    """The tree differs by finding, by SOP class, and by what the source says of its pixels."""
    bare = radiograph("SC", Rows=None, Modality=None, **dict.fromkeys(TYPE_2))
    reports = [
        build_report(radiograph("CR"), predicted(Finding.PRESENT), now=NOW),
        as_comprehensive(build_report(radiograph("DX"), predicted(Finding.ABSENT), now=NOW)),
        build_report(bare, predicted(Finding.INDETERMINATE), now=NOW),
    ]
    for said in pixelmed_sr_validator([saved(each, tmp_path) for each in reports]).values():
        assert "Found Root Template TID_1500" in said
        assert "IOD validation complete" in said
        assert "Error" not in said
        # TID 1501 of 2022 has no row for the free name of a qualitative evaluation
        warnings = [line for line in said.splitlines() if line.startswith("Warning")]
        assert all('CODE (233604007,SCT,"Pneumonia")' in line for line in warnings)


def dumped(dsrdump: Path, path: Path) -> str:
    """Give a report as DCMTK prints it, in UTF-8, with codes and whole values."""
    return subprocess.run(
        [dsrdump, "--print-all-codes", "--print-long-values", "--convert-to-utf8", path],
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout


@pytest.mark.dcmtk
@pytest.mark.parametrize(
    ("finding", "reading", "certainty"),
    [
        (Finding.PRESENT, '(52101004,SCT,"Present")', "87.3"),
        (Finding.ABSENT, '(272519000,SCT,"Absent")', "3.2"),
        (Finding.INDETERMINATE, '(373068000,SCT,"Undetermined")', "51.0"),
    ],
)
def test_dcmtk_reads_the_same_out_of_a_report(
    finding: Finding, reading: str, certainty: str, program: Callable[[str], Path], tmp_path: Path
) -> None:
    report = build_report(radiograph("DX"), predicted(finding), now=NOW)
    for output in (report, as_comprehensive(report)):
        said = dumped(program("dsrdump"), saved(output, tmp_path))
        assert f'CODE:(233604007,SCT,"Pneumonia")={reading}' in said
        assert f'"Certainty of Finding")="{certainty}" (%,UCUM,"Percent")' in said
        finding_item = 'CODE:(121071,DCM,"Finding")=(233604007,SCT,"Pneumonia")'
        assert (finding_item in said) == (finding is Finding.PRESENT)
        assert f"Probability of pneumonia: {predicted(finding).probability!r}" in said
        assert "POLYLINE,0/0,2048/0,2048/2500,0/2500,0/0" in said


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
