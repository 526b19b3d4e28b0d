import dataclasses
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from synthetic.report_sources import (
    BALANCED,
    MODEL,
    NAMES,
    NOW,
    predicted,
    radiograph,
    value_fields,
    values,
)

from service.dicom.implementation import is_own_result
from service.domain.reasons import Reason
from service.domain.routing import Outcome
from workers.prediction import Finding, NotAnalysed, Region
from workers.reporting.output import Output
from workers.reporting.overlay.drawing import COLOUR, STRIP
from workers.reporting.overlay.secondary_capture import build_overlay
from workers.reporting.picture import Pixels
from workers.reporting.sr.report import ReportError, build_report

ALL_FINDINGS = list(Finding)
Raster = npt.NDArray[np.uint8]


def chest(rows: int = 600, columns: int = 550) -> Pixels:
    """Draw something like a chest: two dark lungs in grey, a bright spine between them."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    y, x = y / rows - 0.5, x / columns - 0.5
    lungs = np.exp(-(((abs(x) - 0.22) / 0.14) ** 2) - (y / 0.32) ** 2)
    spine = np.exp(-((x / 0.05) ** 2))
    return np.clip(0.6 - 0.5 * lungs + 0.3 * spine, 0, 1).astype(np.float32)


def overlay_of(
    pixels: Pixels, finding: Finding = Finding.PRESENT, source: Dataset | None = None
) -> Dataset:
    output = build_overlay(source or radiograph(), pixels, predicted(finding), now=NOW)
    return dcmread(BytesIO(output.encode()))


def raster(overlay: Dataset) -> Raster:
    return overlay.pixel_array


def strip_and_anatomy(overlay: Dataset, rows: int) -> tuple[Raster, Raster]:
    picture = raster(overlay)
    return picture[:-rows], picture[-rows:]


def is_grey(picture: Raster) -> bool:
    return bool((picture == picture[..., :1]).all())


@pytest.mark.parametrize("finding", ALL_FINDINGS)
def test_the_strip_stands_above_the_anatomy_and_covers_none_of_it(finding: Finding) -> None:
    pixels = chest()
    strip, anatomy = strip_and_anatomy(overlay_of(pixels, finding), 600)
    assert strip.shape[0] == 64 + 550 // 16
    assert is_grey(anatomy)
    np.testing.assert_array_equal(anatomy[..., 0], np.floor(pixels * 255 + 0.5).astype(np.uint8))


@pytest.mark.parametrize(
    ("finding", "coloured"),
    [(Finding.PRESENT, True), (Finding.INDETERMINATE, True), (Finding.ABSENT, False)],
)
def test_a_negative_has_no_colour(finding: Finding, coloured: bool) -> None:  # noqa: FBT001 -- a table's column
    assert is_grey(raster(overlay_of(chest(), finding))) != coloured


def test_findings_are_distinguishable_without_colour() -> None:
    """By their words and the shapes of their symbols, as a grey viewer shows them."""
    shapes = []
    for finding in ALL_FINDINGS:
        strip, _ = strip_and_anatomy(overlay_of(chest(), finding), 600)
        symbol = strip[:, : strip.shape[0]].astype(float).mean(axis=2) > 60
        shapes.append(symbol)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (shapes[one] != shapes[other]).mean() > 0.1


@pytest.mark.parametrize("finding", ALL_FINDINGS)
def test_the_result_stands_out_from_the_strip_in_grey_as_well(finding: Finding) -> None:
    strip, _ = strip_and_anatomy(overlay_of(chest(), finding), 600)
    luminance = strip.astype(float) @ (0.2126, 0.7152, 0.0722)
    assert luminance.max() - luminance.min() > 120


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(2500, 2048), (2048, 2500), (4000, 3000), (3000, 900), (300, 4000), (1, 5), (64, 64)],
)
def test_the_longest_side_is_1024_at_most_and_the_aspect_is_kept(rows: int, columns: int) -> None:
    pixels = np.ones((rows, columns), dtype=np.float32)
    picture = raster(overlay_of(pixels, Finding.ABSENT))
    assert max(picture.shape[:2]) <= 1024
    height, width = picture.shape[0] - (64 + picture.shape[1] // 16), picture.shape[1]
    bright = (picture[-height:] == 255).all(axis=2)
    shown = int(bright.any(axis=0).sum())
    assert bright.all(axis=1).any() or width == 512
    assert height <= rows
    assert shown <= columns
    assert abs(shown - height * columns / rows) <= max(1, columns / rows)


def test_brightness_beyond_its_range_is_clipped_and_none_at_all_is_black() -> None:
    pixels = chest()
    pixels[0, :4] = (np.nan, np.inf, -np.inf, 7)
    _, anatomy = strip_and_anatomy(overlay_of(pixels), 600)
    assert anatomy[0, :4, 0].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("shape", [(0, 5), (5, 5, 3), (7,)])
def test_pixels_that_are_no_picture_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ReportError, match="not rows and columns"):
        build_overlay(radiograph(), np.zeros(shape, np.float32), predicted(), now=NOW)


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "AccessionNumber", "StudyDate"])
def test_nothing_about_the_patient_is_burned_in(keyword: str) -> None:
    plain = overlay_of(chest())
    change: dict[str, Any] = {keyword: b"20200202"}
    other = overlay_of(chest(), source=radiograph(**change))
    assert plain.PixelData == other.PixelData


@pytest.mark.parametrize("stated", [b"YES", b"NO"])
def test_burned_in_annotation_is_what_the_source_says_of_itself(stated: bytes) -> None:
    overlay = overlay_of(chest(), source=radiograph("DX", BurnedInAnnotation=stated))
    assert overlay.BurnedInAnnotation == stated.decode()


def test_burned_in_annotation_is_not_claimed_where_the_source_is_silent() -> None:
    assert "BurnedInAnnotation" not in overlay_of(chest())


def test_long_names_are_cut_to_the_strip() -> None:
    model = dataclasses.replace(
        MODEL,
        name="a model of a very long name " * 9,
        operating_point=dataclasses.replace(BALANCED, name="W" * 200),
    )
    output = build_overlay(radiograph(), chest(), predicted(model=model), now=NOW)
    strip, _ = strip_and_anatomy(dcmread(BytesIO(output.encode())), 600)
    assert (strip[:, -4:] == STRIP).all()


def test_spacings_are_scaled_to_the_pixels_of_the_overlay() -> None:
    source = radiograph(PixelSpacing=b"0.2\\0.1")
    overlay = overlay_of(np.ones((2500, 2048), np.float32), source=source)
    shown = overlay.Rows - (64 + overlay.Columns // 16)
    for spacing, (down, across) in (
        (overlay.PixelSpacing, (0.2, 0.1)),
        (overlay.ImagerPixelSpacing, (0.143, 0.143)),
    ):
        assert float(spacing[0]) * shown == pytest.approx(down * 2500, rel=1e-6)
        assert float(spacing[1]) * overlay.Columns == pytest.approx(across * 2048, rel=1e-6)


@pytest.mark.parametrize("spacing", [None, b"", b"0\\0", b"0.1", b"wide\\tall", b"1e999\\1"])
def test_an_invalid_spacing_is_left_out(spacing: bytes | None) -> None:
    source = radiograph(PixelSpacing=spacing, ImagerPixelSpacing=spacing)
    overlay = overlay_of(chest(), source=source)
    assert "PixelSpacing" not in overlay
    assert "ImagerPixelSpacing" not in overlay


def test_body_part_and_orientation_are_the_sources() -> None:
    overlay = overlay_of(chest(), source=radiograph(BodyPartExamined=b"THORAX"))
    assert overlay.BodyPartExamined == "THORAX"
    assert list(overlay.PatientOrientation) == ["L", "F"]


def test_without_them_the_body_part_is_what_was_analysed_and_the_orientation_empty() -> None:
    source = radiograph(BodyPartExamined=None, PatientOrientation=b"?\\?")
    overlay = overlay_of(chest(), source=source)
    assert overlay.BodyPartExamined == "CHEST"
    assert overlay["PatientOrientation"].is_empty


@pytest.mark.parametrize(("stated", "expected"), [(b"01", "01"), (b"00", None), (None, None)])
def test_loss_by_compression_is_never_forgotten(stated: bytes | None, expected: str | None) -> None:
    overlay = overlay_of(chest(), source=radiograph(LossyImageCompression=stated))
    assert overlay.get("LossyImageCompression") == expected


def test_loss_by_compression_is_seen_in_the_transfer_syntax_too() -> None:
    source = radiograph()
    source.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    assert overlay_of(chest(), source=source).LossyImageCompression == "01"


def test_the_overlay_refers_to_its_source() -> None:
    overlay = overlay_of(chest())
    (origin,) = overlay.SourceImageSequence
    assert origin.ReferencedSOPInstanceUID == "1.2.826.0.1.3680043.8.498.1"
    assert overlay.Modality == "OT"
    assert "(unverified)" in overlay.SeriesDescription


@pytest.mark.parametrize("names", NAMES)
def test_patient_and_study_elements_are_the_sources_byte_for_byte(names: str) -> None:
    header = values(names=names)
    output = build_overlay(radiograph(names=names), chest(), predicted(), now=NOW)
    written = value_fields(output.encode())
    for keyword in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "StudyID"):
        assert written[tag_for_keyword(keyword) or 0].rstrip() == header[keyword].rstrip()


def outputs() -> tuple[Output, Output]:
    return (
        build_report(radiograph(), predicted(), now=NOW),
        build_overlay(radiograph(), chest(), predicted(), now=NOW),
    )


def test_report_and_overlay_are_different_objects_in_different_series_of_one_study() -> None:
    report, overlay = outputs()
    assert report.sop_instance_uid != overlay.sop_instance_uid
    assert report.dataset.SeriesInstanceUID != overlay.dataset.SeriesInstanceUID
    assert report.dataset.StudyInstanceUID == overlay.dataset.StudyInstanceUID
    assert report.dataset.SeriesNumber != overlay.dataset.SeriesNumber


def test_the_same_input_gives_the_same_bytes() -> None:
    assert outputs()[1].encode() == outputs()[1].encode()


def test_the_output_names_its_object_and_is_known_as_ours() -> None:
    _, output = outputs()
    overlay = dcmread(BytesIO(output.encode()))
    assert output.kind == "overlay"
    assert output.sop_class_uid == overlay.SOPClassUID == SecondaryCaptureImageStorage
    assert output.sop_instance_uid == overlay.SOPInstanceUID
    assert is_own_result(overlay)


def test_dcmwrite_writes_the_bytes_that_encode_gives() -> None:
    _, output = outputs()
    written = BytesIO()
    pydicom.dcmwrite(written, output.dataset, enforce_file_format=True)
    assert written.getvalue() == output.encode()


# --- the region -------------------------------------------------------------------------------

REGION = Region(top=0.25, left=0.1, bottom=0.5, right=0.4)


def with_region(pixels: Pixels, finding: Finding = Finding.PRESENT) -> Raster:
    prediction = dataclasses.replace(predicted(finding), region=REGION)
    output = build_overlay(radiograph(), pixels, prediction, now=NOW)
    return strip_and_anatomy(dcmread(BytesIO(output.encode())), pixels.shape[0])[1]


def test_the_region_is_a_box_where_the_model_looked_and_nowhere_else() -> None:
    changed = (with_region(chest()) != raster(overlay_of(chest()))[-600:]).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max()) == pytest.approx((150, 299), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((55, 219), abs=2)
    inside = changed[156:294, 61:213]
    assert not inside.any(), "the anatomy within the box is as it was"


@pytest.mark.parametrize("brightness", [0.0, 0.5, 1.0])
def test_the_box_stands_out_in_grey_on_dark_lung_and_on_bright_bone(brightness: float) -> None:
    anatomy = with_region(np.full((600, 550), brightness, np.float32))
    luminance = anatomy.astype(float) @ (0.2126, 0.7152, 0.0722)
    edge = luminance[200, 50:65]
    assert max(abs(edge - 255 * brightness)) > 100


def test_a_region_to_the_very_edge_is_drawn_within_the_picture() -> None:
    whole = Region(top=0, left=0, bottom=1, right=1)
    prediction = dataclasses.replace(predicted(), region=whole)
    output = build_overlay(radiograph(), chest(), prediction, now=NOW)
    _, anatomy = strip_and_anatomy(dcmread(BytesIO(output.encode())), 600)
    assert not is_grey(anatomy[:, :3])
    assert not is_grey(anatomy[-3:])


# --- not analysed -----------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [chest(), None], ids=["pixels", "no pixels"])
def test_the_overlay_of_no_analysis_states_that_in_its_strip(pixels: Pixels | None) -> None:
    refusal = NotAnalysed(reason=Reason.LATERAL, model=MODEL)
    output = build_overlay(radiograph(), pixels, refusal, now=NOW)
    shown = dcmread(BytesIO(output.encode()))
    picture = raster(shown)
    assert is_grey(picture)
    height = 64 + picture.shape[1] // 16
    assert picture.shape[0] == height + (0 if pixels is None else 600)
    symbols = {
        overlay_of(chest(), finding).pixel_array[:height, :height].tobytes() for finding in Finding
    }
    assert picture[:height, :height].tobytes() not in symbols
    if pixels is None:
        assert "ImagerPixelSpacing" not in shown, "there is no radiograph to have one"
    other = NotAnalysed(reason=Reason.TURNED, model=MODEL)
    assert (
        raster(dcmread(BytesIO(build_overlay(radiograph(), pixels, other, now=NOW).encode())))[
            :height
        ].tobytes()
        != picture[:height].tobytes()
    ), "the reason is on it"


# --- colours ----------------------------------------------------------------------------------

# linear RGB for people who lack one kind of cone: Machado, Oliveira, Fernandes 2009
SEEN_AS = {
    "by everybody": np.eye(3),
    "without red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "without green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "without blue": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
    "in grey": np.tile(np.array([0.2126, 0.7152, 0.0722]), (3, 1)),
}


def linear(colour: tuple[int, int, int]) -> npt.NDArray[np.float64]:
    scaled = np.array(colour) / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


def luminance(colour: npt.NDArray[np.float64]) -> float:
    return float(np.clip(colour, 0, 1) @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("eyes", SEEN_AS)
@pytest.mark.parametrize("outcome", COLOUR)
def test_every_colour_can_be_read_on_the_strip_by_everybody(outcome: Outcome, eyes: str) -> None:
    """WCAG 2.2 asks for a contrast of 4.5 to 1 for text."""
    front, back = (luminance(SEEN_AS[eyes] @ linear(each)) for each in (COLOUR[outcome], STRIP))
    assert (front + 0.05) / (back + 0.05) >= 4.5


@pytest.mark.parametrize("eyes", [each for each in SEEN_AS if each != "in grey"])
def test_present_and_undetermined_have_colours_that_differ_for_all_eyes(eyes: str) -> None:
    one, other = (
        np.clip(SEEN_AS[eyes] @ linear(COLOUR[each]), 0, 1)
        for each in (Outcome.PRESENT, Outcome.INDETERMINATE)
    )
    assert np.linalg.norm(one - other) > 0.3
