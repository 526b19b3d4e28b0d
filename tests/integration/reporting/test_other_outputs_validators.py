"""Presentation states and PDFs, checked by dciodvfy and DCMTK."""

import dataclasses
import itertools
import re
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from synthetic.report_sources import (
    MODEL,
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

from service.domain.reasons import Reason
from workers.prediction import Conclusion, Finding, NotAnalysed, Region
from workers.reporting.header import TYPE_2
from workers.reporting.output import Output
from workers.reporting.pdf.document import build_pdf
from workers.reporting.presentation_state.build import build_presentation_state

Program = Callable[[str], Path]
Judge = Callable[[Path], str]

PIXELS = np.zeros((250, 205), dtype=np.float32)
KNOWN_NAMES = [each for each in NAMES if not each.startswith(("one", "none", "no "))]
REGION = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
CONCLUSIONS: dict[str, Conclusion] = {
    "present, in a region": dataclasses.replace(predicted(), region=REGION),
    "present": predicted(),
    "absent": predicted(Finding.ABSENT),
    "indeterminate": predicted(Finding.INDETERMINATE),
    "not analysed": NotAnalysed(reason=Reason.LATERAL, model=MODEL),
}
IN_A_REGION = CONCLUSIONS["present, in a region"]
GREYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a window": {"WindowCenter": b"2048\\900", "WindowWidth": b"4096\\300"},
    "a rescaling": {"RescaleSlope": b"1", "RescaleIntercept": b"-5", "RescaleType": b"US"},
    "a LUT": {
        "VOILUTSequence": item(
            element("LUTExplanation", b"NORMAL"),
            struct.pack("<HH2sH3H", 0x28, 0x3002, b"US", 6, 4, 0, 12),
            struct.pack("<HH2sH4H", 0x28, 0x3006, b"US", 8, 0, 7, 300, 4095),
        )
    },
    "a shutter": {
        "ShutterShape": b"CIRCULAR",
        "CenterOfCircularShutter": b"1250\\1024",
        "RadiusOfCircularShutter": b"900",
    },
    "junk": {"WindowCenter": b"mid", "WindowWidth": b"0", "VOILUTSequence": b"\x01\x02"},
}


def saved(output: Output, folder: Path) -> Path:
    path = folder / f"{output.sop_instance_uid}.dcm"
    path.write_bytes(output.encode())
    return path


def state_of(source: Dataset, conclusion: Conclusion) -> Output:
    state = build_presentation_state(source, conclusion, now=NOW)
    assert state is not None
    return state


def both(source: Dataset, conclusion: Conclusion) -> Iterator[Output]:
    yield state_of(source, conclusion)
    pixels = None if isinstance(conclusion, NotAnalysed) else PIXELS
    yield build_pdf(source, pixels, conclusion, now=NOW)


def errors(printed: str) -> list[str]:
    assert printed.splitlines(), "dciodvfy names at least the IOD"
    return [line for line in printed.splitlines() if line.startswith("Error")]


@pytest.mark.dciodvfy
@pytest.mark.parametrize("conclusion", CONCLUSIONS)
@pytest.mark.parametrize("kind", SOP_CLASSES)
def test_dciodvfy_finds_no_error_about_any_kind_of_source(
    kind: str, conclusion: str, dciodvfy: Judge, tmp_path: Path
) -> None:
    names = itertools.cycle(KNOWN_NAMES)
    for photometric, type_2 in itertools.product(("MONOCHROME1", "MONOCHROME2"), (True, False)):
        header = values(kind, next(names), photometric)
        for keyword in () if type_2 else TYPE_2:
            header.pop(keyword, None)
        for output in both(received(header), CONCLUSIONS[conclusion]):
            found = errors(dciodvfy(saved(output, tmp_path)))
            assert found == [], f"{output.kind}, {photometric}, Type 2 {type_2}"


@pytest.mark.dciodvfy
@pytest.mark.parametrize("names", KNOWN_NAMES)
def test_dciodvfy_finds_no_error_in_any_character_set(
    names: str, dciodvfy: Judge, tmp_path: Path
) -> None:
    for output in both(radiograph(names=names), IN_A_REGION):
        assert errors(dciodvfy(saved(output, tmp_path))) == []


@pytest.mark.dciodvfy
@pytest.mark.parametrize("grey", GREYS)
def test_dciodvfy_finds_no_error_however_the_source_is_shown(
    grey: str, dciodvfy: Judge, tmp_path: Path
) -> None:
    for kind in ("CR", "DX", "SC"):
        state = state_of(radiograph(kind, **GREYS[grey]), IN_A_REGION)
        assert errors(dciodvfy(saved(state, tmp_path))) == [], kind


@pytest.mark.dciodvfy
def test_dciodvfy_finds_no_error_where_the_source_lacks_all_that_may_be_absent(
    dciodvfy: Judge, tmp_path: Path
) -> None:
    optional = ("PatientOrientation", "ImagerPixelSpacing", "BodyPartExamined")
    absent: dict[str, Any] = dict.fromkeys((*TYPE_2, *optional, "PatientAge", "Modality"))
    source = radiograph(**absent)
    for conclusion in CONCLUSIONS.values():
        for output in both(source, conclusion):
            assert errors(dciodvfy(saved(output, tmp_path))) == []


@pytest.mark.dciodvfy
def test_what_dciodvfy_finds_wrong_is_only_what_was_wrong_in_the_source(
    dciodvfy: Judge, tmp_path: Path
) -> None:
    wrong: dict[str, Any] = {
        "PatientSex": b"X",
        "PatientBirthDate": b"1970-01-02",
        "StudyDate": b"yesterday",
        "AccessionNumber": b"A" * 90,
    }
    tags = {f"{tag_for_keyword(keyword):08x}" for keyword in wrong}
    for output in both(radiograph(**wrong), IN_A_REGION):
        for line in errors(dciodvfy(saved(output, tmp_path))):
            named = re.findall(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)", line)
            assert named, line
            assert {group + number for group, number in named} <= tags, line


@pytest.mark.dciodvfy
@pytest.mark.data
def test_dciodvfy_finds_no_error_in_objects_about_a_real_radiograph(
    dciodvfy: Judge, radiographs: Path, tmp_path: Path
) -> None:
    source = dcmread(radiographs / "dicom" / "chest_cr_mono1_jpeg2000.dcm", stop_before_pixels=True)
    for conclusion in CONCLUSIONS.values():
        for output in both(source, conclusion):
            assert errors(dciodvfy(saved(output, tmp_path))) == []


@pytest.mark.dcmtk
@pytest.mark.parametrize("grey", GREYS)
def test_dcmtks_checker_passes_a_presentation_state(
    grey: str, program: Program, tmp_path: Path
) -> None:
    for conclusion in CONCLUSIONS.values():
        state = saved(state_of(radiograph(**GREYS[grey]), conclusion), tmp_path)
        done = subprocess.run(
            [program("dcmpschk"), "--verbose", state],
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
        )
        printed = done.stdout + done.stderr
        assert "Test passed" in printed
        assert not re.findall(r"^[EF]: .*", printed, re.MULTILINE)


@pytest.mark.dcmtk
@pytest.mark.parametrize("last_digits", ["", "1", "12"])  # pages of odd and even length
def test_dcmtk_takes_the_same_page_out_of_the_document(
    last_digits: str, program: Program, tmp_path: Path
) -> None:
    source = radiograph(SOPInstanceUID=b"1.2.3" + last_digits.encode())
    output = build_pdf(source, PIXELS, IN_A_REGION, now=NOW)
    document, page = saved(output, tmp_path), tmp_path / "page.pdf"
    subprocess.run([program("dcm2pdf"), document, page], check=True)
    held = output.dataset
    expected = held.EncapsulatedDocument[: held.EncapsulatedDocumentLength]
    assert page.read_bytes().rstrip(b"\0") == expected


@pytest.mark.dcmtk
def test_dcmtk_dumps_both_without_a_complaint(program: Program, tmp_path: Path) -> None:
    for output in both(radiograph("DX"), IN_A_REGION):
        done = subprocess.run(
            [program("dcmdump"), saved(output, tmp_path)],
            capture_output=True,
            encoding="latin-1",
            check=True,
        )
        assert done.stderr == ""
        assert output.sop_instance_uid in done.stdout


def stored_image(path: Path, photometric: str, **shown: float | str) -> npt.NDArray[np.uint16]:
    """Save a radiograph of 12 bits whose grey rises to the right; give its pixels."""
    image = Dataset()
    image.SOPClassUID = ComputedRadiographyImageStorage
    image.SOPInstanceUID, image.StudyInstanceUID, image.SeriesInstanceUID = (
        "1.2.1",
        "1.2.2",
        "1.2.3",
    )
    image.PatientName, image.PatientID, image.Modality = "Doe^Jane", "PID", "CR"
    image.PhotometricInterpretation = photometric
    image.SamplesPerPixel, image.Rows, image.Columns = 1, 20, 64
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    for keyword, value in shown.items():
        setattr(image, keyword, value)
    pixels = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (20, 1))
    image.PixelData = pixels.tobytes()
    image["PixelData"].VR = "OW"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    return pixels


def rendered(program: Program, image: Path, state: Path) -> npt.NDArray[np.float64]:
    """Render the image with a presentation state by DCMTK, 0 black to 1 white."""
    grey = state.with_suffix(".pgm")
    subprocess.run([program("dcmp2pgm"), "--pstate", state, image, grey], check=True)
    return np.asarray(Image.open(grey), dtype=np.float64) / 255


@pytest.mark.dcmtk
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("shown", "low", "high"),
    [
        ({}, 0, 4095),
        ({"WindowCenter": 2048, "WindowWidth": 2000}, 1048, 3048),
        (
            {"RescaleSlope": 2, "RescaleIntercept": -1000, "RescaleType": "US"}
            | {"WindowCenter": 3000, "WindowWidth": 4000},
            1000,
            3000,
        ),
    ],
    ids=["no window", "window", "rescaling and window"],
)
def test_dcmtk_shows_the_radiograph_under_the_state_as_its_own_header_says(
    photometric: str,
    shown: dict[str, float | str],
    low: float,
    high: float,
    program: Program,
    tmp_path: Path,
) -> None:
    image = tmp_path / "image.dcm"
    pixels = stored_image(image, photometric, **shown)
    state = saved(state_of(dcmread(image, stop_before_pixels=True), IN_A_REGION), tmp_path)
    bright = np.clip((pixels.astype(float) - low) / (high - low), 0, 1)
    expected = 1 - bright if photometric == "MONOCHROME1" else bright
    np.testing.assert_allclose(rendered(program, image, state), expected, atol=0.01)


@pytest.mark.dcmtk
@pytest.mark.data
def test_dcmtk_shows_a_real_radiograph_under_the_state_as_its_own_header_says(
    program: Program, radiographs: Path, tmp_path: Path
) -> None:
    """A CR of 15 bits, MONOCHROME1, with a window: the state must not make it a negative."""
    source = dcmread(radiographs / "dicom" / "chest_cr_mono1_jpeg2000.dcm")
    source.decompress()  # DCMTK reads no JPEG 2000
    image = tmp_path / "image.dcm"
    source.save_as(image)
    state = saved(state_of(dcmread(image, stop_before_pixels=True), IN_A_REGION), tmp_path)
    centre, width = float(source.WindowCenter), float(source.WindowWidth)
    position = (source.pixel_array - (centre - 0.5)) / (width - 1) + 0.5  # PS3.3 C.11.2.1.2.1
    expected = 1 - np.clip(position, 0, 1)
    np.testing.assert_allclose(rendered(program, image, state), expected, atol=0.01)


@pytest.mark.dcmtk
def test_dcmtk_understands_box_and_line_and_writes_them_again(
    program: Program, tmp_path: Path
) -> None:
    """It does not draw them (its manual says so), but parses and writes what it would draw."""
    image, again = tmp_path / "image.dcm", tmp_path / "again.dcm"
    stored_image(image, "MONOCHROME2", WindowCenter=2048, WindowWidth=4096)
    output = state_of(dcmread(image, stop_before_pixels=True), IN_A_REGION)
    subprocess.run(
        [
            program("dcmp2pgm"),
            "--pstate",
            saved(output, tmp_path),
            "--save-pstate",
            again,
            image,
            tmp_path / "grey.pgm",
        ],
        check=True,
    )
    (annotation,) = dcmread(again).GraphicAnnotationSequence
    (graphic,), (text,) = annotation.GraphicObjectSequence, annotation.TextObjectSequence
    assert list(graphic.GraphicData) == [8, 5, 24, 5, 24, 10, 8, 10, 8, 5]
    assert graphic.GraphicAnnotationUnits == "PIXEL"
    assert text.UnformattedTextValue == "AI: Pneumonia PRESENT, probability 87.3 % (unverified)"
    (area,) = dcmread(again).DisplayedAreaSelectionSequence
    assert list(area.DisplayedAreaBottomRightHandCorner) == [64, 20]
