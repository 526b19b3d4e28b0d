"""Draw the A4 page of a conclusion: the result, the radiograph, how to interpret them.

The result can be read from the words and from the shape of the symbol, as on the overlay; colour
only repeats it. The page names no patient. Fonts are embedded, so that it looks the same in every
reader, and nothing on it depends on when it was drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from service.dicom.implementation import MANUFACTURER
from service.domain.routing import Outcome
from workers.prediction import (
    Conclusion,
    Finding,
    NotAnalysed,
    OtherAbnormality,
    Prediction,
)
from workers.reporting.geometry import pixel_box
from workers.reporting.pdf.drawing import (
    BODY,
    BOLD,
    CAPTION,
    COLOUR,
    EDGE,
    HEADING,
    LABEL,
    PAPER,
    RESULT,
    SMALL,
    SUBHEADING,
    VALUE,
    WARNING,
    Style,
    draw_box,
    draw_symbol,
    encode_jpeg,
    register_fonts,
    text_lines,
    text_width,
    write_text,
)
from workers.reporting.wording import (
    CAUTION,
    REGION_CAUTION,
    ascii_text,
    basis_line,
    both_findings,
    other_basis_line,
    other_line,
    percent,
    result_line,
)

TITLE: Final = "Lobar AI result: pneumonia on a chest radiograph"
LANGUAGE: Final = "en-US"
NO_PICTURE: Final = "The radiograph is not shown: its pixels were not, or could not be, read."
REGION: Final = f"The box is {REGION_CAUTION}."
REGION_IN_REPORT: Final = f"The report names a region: {REGION_CAUTION}."
NO_REGION: Final = "The model names no region of this radiograph for its result."
PATIENT: Final = "The patient is named by the DICOM header of this document."

# in points of 1/72 inch
WIDTH, HEIGHT = A4
MARGIN: Final = 42
CONTENT_WIDTH: Final = WIDTH - 2 * MARGIN
GAP: Final = 18
INSET: Final = 12
SYMBOL: Final = 42
PICTURE_WIDTH: Final = 350
PICTURE_HEIGHT: Final = 420
PICTURE_HEIGHT_BELOW_TWO: Final = 290  # bands, which leave less space
PLACEHOLDER_HEIGHT: Final = 120


def draw_page(picture: Image.Image | None, conclusion: Conclusion, *, source_uid: str) -> bytes:
    """Draw the page as PDF; the same arguments have the same bytes as their result.

    Args:
        picture: The radiograph without its region, which is drawn here as vector lines; None if
            there are no pixels to show.
        conclusion: What was concluded about the source.
        source_uid: The source's SOP Instance UID, which the page's foot names.

    Returns:
        The PDF file.
    """
    register_fonts()
    file = BytesIO()
    page = Canvas(file, pagesize=A4, invariant=1, pageCompression=1, lang=LANGUAGE)
    page.setTitle(TITLE)
    page.setAuthor(MANUFACTURER)
    page.setSubject(CAUTION)
    page.setCreator(MANUFACTURER)
    top = _draw_head(page, HEIGHT - MARGIN)
    for band in _bands(conclusion):
        top = _draw_result(page, band, top - 8)
    top = min(
        _draw_picture(page, picture, conclusion, top - GAP),
        _draw_facts(page, conclusion, top - GAP),
    )
    _draw_explanation(page, conclusion, top - GAP)
    _draw_foot(page, conclusion, source_uid)
    page.showPage()
    page.save()
    return file.getvalue()


def _draw_head(page: Canvas, top: float) -> float:
    top = write_text(page, TITLE, HEADING, (MARGIN, top), CONTENT_WIDTH)
    return write_text(page, CAUTION, WARNING, (MARGIN, top - 2), CONTENT_WIDTH)


@dataclass(frozen=True, slots=True)
class _Band:
    """One result: its symbol, its words and what it rests on."""

    outcome: Outcome
    result: str
    basis: str


def _bands(conclusion: Conclusion) -> Iterator[_Band]:
    """Yield the results; the other abnormality stands as large as pneumonia, and below it."""
    yield _Band(conclusion.outcome, result_line(conclusion), basis_line(conclusion))
    other = _other(conclusion)
    if other is not None:
        yield _Band(Outcome(other.finding), other_line(other), other_basis_line(other))


def _other(conclusion: Conclusion) -> OtherAbnormality | None:
    return conclusion.other if isinstance(conclusion, Prediction) else None


def _draw_result(page: Canvas, band: _Band, top: float) -> float:
    """Draw the band with a result, as symbol and words; return its lower edge."""
    left = MARGIN + SYMBOL + 2 * INSET
    available = MARGIN + CONTENT_WIDTH - INSET - left
    result, basis = band.result, band.basis
    size = min(RESULT.size, RESULT.size * available / text_width(result, RESULT))
    style = Style(font=BOLD, size=size)
    text_height = style.line + len(list(text_lines(basis, VALUE, available))) * VALUE.line
    height = max(SYMBOL, text_height) + 2 * INSET
    page.setFillColor(PAPER)
    page.rect(MARGIN, top - height, CONTENT_WIDTH, height, stroke=0, fill=1)
    corner = (MARGIN + INSET, top - INSET - SYMBOL)
    draw_symbol(page, band.outcome, corner, SYMBOL)
    lower = top - INSET - max(0, SYMBOL - text_height) / 2
    lower = write_text(page, result, style, (left, lower), available)
    write_text(page, basis, VALUE, (left, lower), available)
    return top - height


def _draw_picture(
    page: Canvas, picture: Image.Image | None, conclusion: Conclusion, top: float
) -> float:
    """Draw the radiograph as large as its space allows, or a placeholder; return the lower edge."""
    region = conclusion.region if isinstance(conclusion, Prediction) else None
    if picture is None:
        bottom = _draw_placeholder(page, top)
    else:
        highest = PICTURE_HEIGHT if _other(conclusion) is None else PICTURE_HEIGHT_BELOW_TWO
        scale = min(PICTURE_WIDTH / picture.width, highest / picture.height)
        width, height = picture.width * scale, picture.height * scale
        corner = (MARGIN + (PICTURE_WIDTH - width) / 2, top - height)
        page.drawImage(ImageReader(encode_jpeg(picture)), *corner, width, height)
        if region is not None:
            box = pixel_box(region, rows=picture.height, columns=picture.width)
            draw_box(page, box, (corner[0], top), scale, COLOUR[conclusion.outcome])
        bottom = top - height
    if isinstance(conclusion, NotAnalysed):
        return bottom
    caption = NO_REGION if region is None else REGION_IN_REPORT if picture is None else REGION
    return write_text(page, caption, CAPTION, (MARGIN, bottom - 4), PICTURE_WIDTH)


def _draw_placeholder(page: Canvas, top: float) -> float:
    bottom = top - PLACEHOLDER_HEIGHT
    page.setFillColor(PAPER)
    page.setStrokeColor(EDGE)
    page.setLineWidth(0.5)
    page.rect(MARGIN, bottom, PICTURE_WIDTH, PLACEHOLDER_HEIGHT, stroke=1, fill=1)
    corner = (MARGIN + GAP, top - PLACEHOLDER_HEIGHT / 2 + BODY.line)
    write_text(page, NO_PICTURE, BODY, corner, PICTURE_WIDTH - 2 * GAP)
    return bottom


def _draw_facts(page: Canvas, conclusion: Conclusion, top: float) -> float:
    """List the model, the thresholds and the result beside the picture; return the lower edge."""
    left = MARGIN + PICTURE_WIDTH + GAP
    available = WIDTH - MARGIN - left
    for label, value in _facts(conclusion):
        top = write_text(page, label, LABEL, (left, top), available)
        top = write_text(page, value, VALUE, (left, top), available) - 5
    return top


def _facts(conclusion: Conclusion) -> Iterator[tuple[str, str]]:
    model = conclusion.model
    if isinstance(conclusion, NotAnalysed):
        yield "Result", "not analysed"
        yield "Reason", str(conclusion.reason)
    else:
        yield "Probability of pneumonia", f"{percent(conclusion.probability)} %"
        point = model.operating_point
        yield "Operating point", ascii_text(point.name)
        yield "Threshold", f"{percent(point.threshold)} %"
        low, high = percent(point.indeterminate_low), percent(point.indeterminate_high)
        has_band = point.indeterminate_low < point.indeterminate_high
        yield "Undetermined", f"between {low} % and {high} %" if has_band else "never"
        if conclusion.population is not None:
            yield "Population", ascii_text(conclusion.population)
        if conclusion.other is not None:  # its thresholds are in its band
            yield "Probability of other abnormality", f"{percent(conclusion.other.probability)} %"
    yield "Model", ascii_text(model.name)
    yield "Model version", ascii_text(model.version)
    yield "Calibrated", "yes" if model.calibrated else "no"


def _draw_explanation(page: Canvas, conclusion: Conclusion, top: float) -> None:
    top = write_text(page, "How to read this", SUBHEADING, (MARGIN, top), CONTENT_WIDTH) - 2
    for paragraph in _explanation(conclusion):
        top = write_text(page, paragraph, BODY, (MARGIN, top), CONTENT_WIDTH) - 3


def _explanation(conclusion: Conclusion) -> Iterator[str]:
    """Yield the paragraphs that explain what the result means and what it does not mean."""
    other = _other(conclusion)
    if isinstance(conclusion, NotAnalysed):
        yield (
            "Nothing is said about pneumonia: neither that it shows nor that it does not. "
            "Read the radiograph as if this page did not exist."
        )
    else:
        kind = "calibrated estimate" if conclusion.model.calibrated else "uncalibrated estimate"
        yield f"The probability is the model's {kind} that pneumonia shows on this radiograph."
        yield _meaning(conclusion.finding, with_other=other is not None)
        if other is not None:
            yield f"Read both results together: {both_findings(conclusion, other)}."
            yield _meaning_of_other(other.finding)
    sought = "for pneumonia alone" if other is None else "for pneumonia and any other abnormality"
    known = "and nothing of the patient"
    if isinstance(conclusion, Prediction) and conclusion.population is not None:
        known = "and of the patient only the age"
    yield (
        f"The model looks at one radiograph, {sought}. It knows no earlier radiograph "
        f"{known}. What it was trained and measured on, and with which "
        "results, is in its own documentation."
    )
    yield (
        "A program made this page and nobody has verified it. It is not a medical device, is for "
        "research use only, and must not be used for diagnosis or treatment."
    )


def _meaning(finding: Finding, *, with_other: bool) -> str:
    match finding:
        case Finding.PRESENT:
            return (
                "PRESENT: at this operating point the model calls that a pneumonia. "
                "It may be wrong."
            )
        case Finding.ABSENT:
            silent = "" if with_other else ", and says nothing of any other finding"
            return (
                "ABSENT: at this operating point the model calls that no pneumonia. That does not "
                f"rule pneumonia out{silent}."
            )
        case Finding.INDETERMINATE:
            return (
                "UNDETERMINED: the probability lies in the band where the model does not commit "
                "itself. That is neither a positive nor a negative result."
            )


def _meaning_of_other(finding: Finding) -> str:
    match finding:
        case Finding.PRESENT:
            return (
                "Other abnormality PRESENT: at this operating point the model calls something "
                "other than pneumonia abnormal. It does not say what or where, and may be wrong."
            )
        case Finding.ABSENT:
            return (
                "Other abnormality ABSENT: at this operating point the model calls no abnormality "
                "other than pneumonia. That does not rule one out."
            )
        case Finding.INDETERMINATE:
            return (
                "Other abnormality UNDETERMINED: the model does not commit itself on whether "
                "something other than pneumonia is abnormal."
            )


def _draw_foot(page: Canvas, conclusion: Conclusion, source_uid: str) -> None:
    lines = (
        f"About the DICOM instance {source_uid}",
        f"Weights of the model, SHA-256: {conclusion.model.weights_sha256}",
        PATIENT,
    )
    top = MARGIN + len(lines) * SMALL.line
    page.setStrokeColor(EDGE)
    page.setLineWidth(0.5)
    page.line(MARGIN, top + 4, WIDTH - MARGIN, top + 4)
    for line in lines:
        top = write_text(page, line, SMALL, (MARGIN, top), CONTENT_WIDTH)
