import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pypdfium2
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage
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
from service.domain.reasons import EXPLANATIONS, Reason
from workers.prediction import Conclusion, Finding, NotAnalysed, Region
from workers.reporting.output import Output, ReportError
from workers.reporting.pdf.document import build_pdf
from workers.reporting.picture import Pixels

DOTS_PER_POINT = 2
A4_POINTS = (595, 842)
REGION = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
IN_A_REGION = dataclasses.replace(predicted(), region=REGION)
NOT_ANALYSED = NotAnalysed(reason=Reason.PIXELS_UNREADABLE, model=MODEL)
CONCLUSIONS: dict[str, Conclusion] = {
    "present": predicted(),
    "present, in a region": IN_A_REGION,
    "absent": predicted(Finding.ABSENT),
    "indeterminate": predicted(Finding.INDETERMINATE),
    "not analysed": NOT_ANALYSED,
}
GREY_PIXELS = np.full((500, 400), 0.5, dtype=np.float32)
Raster = npt.NDArray[np.float64]


def output_of(
    conclusion: Conclusion = IN_A_REGION,
    pixels: Pixels | None = GREY_PIXELS,
    source: Dataset | None = None,
) -> Output:
    return build_pdf(source or radiograph(), pixels, conclusion, now=NOW)


def page_of(output: Output) -> bytes:
    """Return the PDF without the padding, as a reader of the DICOM file extracts it."""
    document = dcmread(BytesIO(output.encode()))
    return bytes(document.EncapsulatedDocument[: document.EncapsulatedDocumentLength])


@contextmanager
def opened(pdf: bytes) -> Iterator[pypdfium2.PdfDocument]:
    document = pypdfium2.PdfDocument(pdf)
    try:
        yield document
    finally:
        document.close()


def text_of(output: Output) -> str:
    """Return the text of the only page, each line break as a space."""
    with opened(page_of(output)) as document:
        assert len(document) == 1
        return " ".join(document[0].get_textpage().get_text_bounded().split())


def drawn(output: Output) -> Raster:
    """Render the page with Chromium's engine: rows x columns x RGB."""
    with opened(page_of(output)) as document:
        image = document[0].render(scale=DOTS_PER_POINT).to_pil()
    return np.asarray(image, dtype=np.float64)


def is_coloured(page: Raster) -> npt.NDArray[np.bool_]:
    shown = np.ptp(page, axis=2) > 60
    assert isinstance(shown, np.ndarray)
    return shown


def drawn_picture(output: Output) -> Raster:
    """Return the part of the rendered page that shows the radiograph."""
    with opened(page_of(output)) as document:
        left, bottom, right, top = picture_in(document).get_bounds()
        height = document[0].get_height()
    edges = (height - top, height - bottom, left, right)
    first, last, begin, end = (round(edge * DOTS_PER_POINT) for edge in edges)
    return drawn(output)[first:last, begin:end]


def picture_in(document: pypdfium2.PdfDocument) -> pypdfium2.PdfImage:
    (image,) = [each for each in document[0].get_objects() if isinstance(each, pypdfium2.PdfImage)]
    return image


def extent(shown: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of the marked pixels."""
    down, across = np.nonzero(shown)
    return across.min(), down.min(), across.max() + 1, down.max() + 1


@pytest.mark.parametrize(
    ("conclusion", "words"),
    [
        ("present", "Pneumonia PRESENT, probability 87.3 %"),
        ("absent", "Pneumonia ABSENT, probability 3.2 %"),
        ("indeterminate", "Pneumonia UNDETERMINED, probability 51.0 %"),
        ("not analysed", "NOT ANALYSED for pneumonia"),
    ],
)
def test_the_page_says_the_result_in_words(conclusion: str, words: str) -> None:
    assert words in text_of(output_of(CONCLUSIONS[conclusion]))


@pytest.mark.parametrize("conclusion", CONCLUSIONS)
def test_every_page_says_what_it_is_what_it_is_of_and_by_which_model(conclusion: str) -> None:
    text = text_of(output_of(CONCLUSIONS[conclusion]))
    for said in (
        "AI result, unverified. Not a medical device: for research use only.",
        "nobody has verified it",
        "must not be used for diagnosis or treatment",
        "Model lobar_pneumonia",
        "Model version 1.2.3",
        "Calibrated yes",
        MODEL.weights_sha256,
        "About the DICOM instance 1.2.826.0.1.3680043.8.498.1",
        "The patient is named by the DICOM header of this document.",
    ):
        assert said in text


def test_the_page_says_by_which_thresholds_a_probability_was_read() -> None:
    text = text_of(output_of())
    for said in ("Operating point balanced", "Threshold 50.0 %", "between 40.0 % and 60.0 %"):
        assert said in text


def test_an_operating_point_without_a_band_leaves_nothing_undetermined() -> None:
    point = dataclasses.replace(BALANCED, indeterminate_low=0.5, indeterminate_high=0.5)
    model = dataclasses.replace(MODEL, operating_point=point, calibrated=False)
    text = text_of(output_of(predicted(model=model)))
    assert "Undetermined never" in text
    assert "Calibrated no" in text
    assert "uncalibrated estimate" in text


def test_a_negative_rules_nothing_out() -> None:
    assert "does not rule pneumonia out" in text_of(output_of(predicted(Finding.ABSENT)))


def test_what_was_not_analysed_has_its_reason_and_nothing_about_pneumonia() -> None:
    text = text_of(output_of(NOT_ANALYSED, None))
    assert str(Reason.PIXELS_UNREADABLE) in text
    assert EXPLANATIONS[Reason.PIXELS_UNREADABLE] in text
    assert "Nothing is said about pneumonia" in text
    for unsaid in ("probability", "Threshold", "PRESENT", "ABSENT", "region", "The box"):
        assert unsaid not in text


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_fits_the_page(reason: Reason) -> None:
    text = text_of(output_of(NotAnalysed(reason=reason, model=MODEL), None))
    assert EXPLANATIONS[reason] in text


def test_the_page_says_that_the_box_is_no_outline() -> None:
    assert "The box is where the model looked, not a lesion outline." in text_of(output_of())


def test_without_a_region_none_is_claimed() -> None:
    text = text_of(output_of(predicted()))
    assert "names no region" in text
    assert "The box" not in text


def test_the_box_lies_around_the_pixels_of_the_region() -> None:
    """Held against the picture as it is drawn, whatever place and size the page gives it."""
    picture = drawn_picture(output_of())
    height, width = picture.shape[:2]
    assert width / height == pytest.approx(400 / 500, rel=0.01)
    within = is_coloured(picture)
    expected = (0.125 * width, 0.25 * height, 0.375 * width, 0.5 * height)
    line = 3.0  # dots: half a line, and what is smoothed
    assert extent(within) == pytest.approx(expected, abs=line)
    middle = within[round(0.375 * height), round(0.25 * width)]
    assert not middle, "a line, not an area"


@pytest.mark.parametrize(
    "conclusion",
    [predicted(), predicted(Finding.ABSENT), NOT_ANALYSED],
    ids=lambda each: each.outcome,
)
def test_without_a_region_the_radiograph_is_untouched(conclusion: Conclusion) -> None:
    picture = drawn_picture(output_of(conclusion))[2:-2, 2:-2]
    assert (abs(picture - 128) <= 3).all()


def test_a_negative_has_no_colour() -> None:
    page = drawn(output_of(dataclasses.replace(predicted(Finding.ABSENT), region=REGION)))
    assert not is_coloured(page).any()


def test_findings_are_distinguishable_without_colour() -> None:
    shapes = []
    for conclusion in ("present", "absent", "indeterminate", "not analysed"):
        page = drawn(output_of(CONCLUSIONS[conclusion])).mean(axis=2)
        shapes.append(page[180:300, 80:200] < 200)
    for position, one in enumerate(shapes):
        for other in shapes[:position]:
            assert (one != other).mean() > 0.05


@pytest.mark.parametrize("conclusion", ["present, in a region", "not analysed"])
def test_without_pixels_the_page_says_so(conclusion: str) -> None:
    text = text_of(output_of(CONCLUSIONS[conclusion], None))
    assert "The radiograph is not shown" in text
    assert "The box" not in text


def test_the_radiograph_is_on_the_page_as_bright_as_it_is_displayed() -> None:
    pixels = np.tile(np.linspace(0, 1, 400, dtype=np.float32), (500, 1))
    with opened(page_of(output_of(predicted(), pixels))) as document:
        shown = np.asarray(picture_in(document).get_bitmap().to_pil().convert("L"), dtype=float)
    np.testing.assert_allclose(shown / 255, pixels, atol=0.03)


@pytest.mark.parametrize(("rows", "columns"), [(4000, 3000), (3000, 900), (300, 4000), (1, 5)])
def test_a_page_is_small_and_its_picture_keeps_its_shape(rows: int, columns: int) -> None:
    noise = np.random.default_rng(7).random((rows, columns), dtype=np.float32)
    page = page_of(output_of(predicted(), noise))
    assert len(page) < 1_000_000
    with opened(page) as document:
        image = picture_in(document)
        left, bottom, right, top = image.get_bounds()
        assert max(image.get_px_size()) <= 1024
        assert tuple(round(side) for side in document[0].get_size()) == A4_POINTS
    assert (right - left) / (top - bottom) == pytest.approx(columns / rows, rel=0.02)
    assert 0 < left < right < A4_POINTS[0]
    assert 0 < bottom < top < A4_POINTS[1]


@pytest.mark.parametrize("shape", [(0, 5), (5, 5, 3), (7,)])
def test_pixels_that_are_no_picture_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ReportError, match="not rows and columns"):
        output_of(predicted(), np.zeros(shape, np.float32))


def test_long_names_stay_within_the_margins_and_off_what_follows() -> None:
    model = dataclasses.replace(
        MODEL,
        name="W" * 200,
        version="M" * 200,
        operating_point=dataclasses.replace(BALANCED, name="W" * 200),
    )
    output = output_of(predicted(Finding.INDETERMINATE, model=model), GREY_PIXELS[:50])
    margin = 40 * DOTS_PER_POINT
    page = drawn(output)
    assert (page[:, :margin] == 255).all()
    assert (page[:, -margin:] == 255).all()
    text = text_of(output)
    assert text.index("Calibrated") < text.index("How to read this") < text.index("The patient is")


@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "AccessionNumber", "StudyDate"])
def test_nothing_about_the_patient_is_on_the_page(keyword: str) -> None:
    change: dict[str, Any] = {keyword: b"20200202"}
    other = output_of(source=radiograph(**change))
    assert page_of(output_of()) == page_of(other)


def test_nothing_about_the_patient_is_in_the_pdf_itself() -> None:
    with opened(page_of(output_of())) as document:
        information = " ".join(document.get_metadata_dict().values())
    for said in (text_of(output_of()), information):
        assert not re.search(r"Doe|Müller|M.ller|PID|0007|A-4711|1970|Thorax|Referrer", said)


@pytest.mark.parametrize("conclusion", CONCLUSIONS)
def test_the_same_input_gives_the_same_bytes(conclusion: str) -> None:
    first, again = (output_of(CONCLUSIONS[conclusion]).encode() for _ in range(2))
    assert first == again


def test_no_time_of_day_is_in_the_page() -> None:
    later = build_pdf(radiograph(), GREY_PIXELS, IN_A_REGION, now=NOW.replace(hour=1))
    assert page_of(later) == page_of(output_of())


def test_fonts_are_embedded() -> None:
    assert page_of(output_of()).count(b"/FontFile2") >= 2


@pytest.mark.parametrize("pixels", [GREY_PIXELS, None], ids=["picture", "none"])
@pytest.mark.parametrize(("stated", "expected"), [(b"YES", "YES"), (b"NO", "NO"), (None, "NO")])
def test_burned_in_annotation_is_the_radiographs_if_it_is_shown(
    stated: bytes | None, expected: str, pixels: Pixels | None
) -> None:
    output = output_of(pixels=pixels, source=radiograph("DX", BurnedInAnnotation=stated))
    shown = expected if pixels is not None else "NO"
    assert dcmread(BytesIO(output.encode())).BurnedInAnnotation == shown


def test_the_document_says_what_it_holds_and_what_it_came_from() -> None:
    output = output_of()
    document = dcmread(BytesIO(output.encode()))
    assert document.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert document.VerificationFlag == "UNVERIFIED"
    assert document.ConversionType == "WSD"
    assert document.Modality == "DOC"
    assert "unverified" in document.SeriesDescription
    (origin,) = document.SourceInstanceSequence
    assert origin.ReferencedSOPInstanceUID == "1.2.826.0.1.3680043.8.498.1"
    (title,) = document.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("18748-4", "LN")


def test_the_document_is_padded_to_even_length_and_its_own_length_is_said() -> None:
    """Pages of odd and of even length, of one instance or another."""
    lengths = set()
    for last in range(8):
        source = radiograph(SOPInstanceUID=b"1.2.3." + b"4" * last + b"5")
        document = dcmread(BytesIO(output_of(source=source).encode()))
        held = document.EncapsulatedDocument
        assert len(held) % 2 == 0
        assert len(held) - document.EncapsulatedDocumentLength in {0, 1}
        assert held[: document.EncapsulatedDocumentLength].rstrip().endswith(b"%%EOF")
        lengths.add(document.EncapsulatedDocumentLength % 2)
    assert lengths == {0, 1}


@pytest.mark.parametrize("names", NAMES)
def test_patient_and_study_elements_are_the_sources_byte_for_byte(names: str) -> None:
    header = values(names=names)
    written = value_fields(output_of(source=radiograph(names=names)).encode())
    for keyword in ("PatientName", "PatientID", "StudyDate", "AccessionNumber", "StudyID"):
        assert written[tag_for_keyword(keyword) or 0].rstrip() == header[keyword].rstrip()


def test_the_output_names_its_object_and_is_known_as_ours() -> None:
    output = output_of()
    document = dcmread(BytesIO(output.encode()))
    assert output.kind == "pdf"
    assert output.sop_class_uid == document.SOPClassUID == EncapsulatedPDFStorage
    assert output.sop_instance_uid == document.SOPInstanceUID
    assert is_own_result(document)


def test_dcmwrite_writes_the_bytes_that_encode_gives() -> None:
    output = output_of()
    written = BytesIO()
    pydicom.dcmwrite(written, output.dataset, enforce_file_format=True)
    assert written.getvalue() == output.encode()
