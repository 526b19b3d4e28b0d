"""One A4 page that says a conclusion to a clinician: the radiograph, the result, how to read it.

The result is told by words and by the shape of a symbol, as on the overlay; colour only repeats
it. Nothing on the page is about the patient. Fonts are embedded, so that the page looks the same
wherever it is opened, and nothing on it depends on when it was drawn.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import reportlab
from PIL import Image
from reportlab.lib.colors import Color
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from service.dicom.implementation import MANUFACTURER
from service.domain.routing import Outcome
from workers.prediction import Conclusion, Finding, NotAnalysed, Prediction
from workers.reporting.geometry import Box, pixel_box
from workers.reporting.wording import (
    CAUTION,
    REGION_CAUTION,
    ascii_text,
    basis_line,
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

FONTS: Final = Path(reportlab.__file__).parent / "fonts"
PLAIN: Final = "Vera"  # Bitstream Vera, which comes with reportlab
BOLD: Final = "VeraBd"
INK: Final = Color(0.1, 0.1, 0.1)
PALE_INK: Final = Color(0.4, 0.4, 0.4)
PAPER: Final = Color(0.95, 0.95, 0.95)
EDGE: Final = Color(0.75, 0.75, 0.75)
COLOUR: Final = {  # of Okabe and Ito, the darker blue because the page is white
    Outcome.PRESENT: Color(0.90, 0.62, 0),
    Outcome.INDETERMINATE: Color(0, 0.45, 0.70),
    Outcome.ABSENT: PALE_INK,
    Outcome.NOT_ANALYSED: INK,
}

# in points of 1/72 inch
WIDTH, HEIGHT = A4
MARGIN: Final = 42
ROOM: Final = WIDTH - 2 * MARGIN
GAP: Final = 18
INSET: Final = 12
SYMBOL: Final = 42
PICTURE_WIDTH: Final = 350
PICTURE_HEIGHT: Final = 420
PLACEHOLDER_HEIGHT: Final = 120
BOX_LINE: Final = 1.6
BOX_EDGE: Final = 0.7  # of black on either side: in sight on bright bone as on dark lung
JPEG_QUALITY: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """How a text is set."""

    font: str = PLAIN
    size: float
    colour: Color = INK
    leading: float = 1.35  # as a multiple of the size

    @property
    def line(self) -> float:
        """Give the height of a line."""
        return self.size * self.leading


HEADING: Final = _Style(font=BOLD, size=15)
WARNING: Final = _Style(font=BOLD, size=9.5)
RESULT: Final = _Style(font=BOLD, size=16)
LABEL: Final = _Style(size=7.5, colour=PALE_INK)
VALUE: Final = _Style(size=9.5)
CAPTION: Final = _Style(size=8.5)
SUBHEADING: Final = _Style(font=BOLD, size=10)
BODY: Final = _Style(size=9)
SMALL: Final = _Style(size=7.5, colour=PALE_INK)


def draw_page(picture: Image.Image | None, conclusion: Conclusion, *, source_uid: str) -> bytes:
    """Draw the page as PDF; the same arguments give the same bytes.

    `picture` is the radiograph without its region, which is drawn here, in lines; None where
    there is nothing to show.
    """
    _register_fonts()
    file = BytesIO()
    page = Canvas(file, pagesize=A4, invariant=1, pageCompression=1, lang=LANGUAGE)
    page.setTitle(TITLE)
    page.setAuthor(MANUFACTURER)
    page.setSubject(CAUTION)
    page.setCreator(MANUFACTURER)
    top = _draw_head(page, HEIGHT - MARGIN)
    top = _draw_result(page, conclusion, top - 8)
    top = min(
        _draw_picture(page, picture, conclusion, top - GAP),
        _draw_facts(page, conclusion, top - GAP),
    )
    _draw_reading(page, conclusion, top - GAP)
    _draw_foot(page, conclusion, source_uid)
    page.showPage()
    page.save()
    return file.getvalue()


@functools.cache
def _register_fonts() -> None:
    for font in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(font, str(FONTS / f"{font}.ttf")))


def _draw_head(page: Canvas, top: float) -> float:
    top = _write(page, TITLE, HEADING, (MARGIN, top), ROOM)
    return _write(page, CAUTION, WARNING, (MARGIN, top - 2), ROOM)


def _draw_result(page: Canvas, conclusion: Conclusion, top: float) -> float:
    """Draw the band that tells the result by symbol and words."""
    left = MARGIN + SYMBOL + 2 * INSET
    room = MARGIN + ROOM - INSET - left
    result, basis = result_line(conclusion), basis_line(conclusion)
    size = min(RESULT.size, RESULT.size * room / _length(result, RESULT))
    style = _Style(font=BOLD, size=size)
    text_height = style.line + len(list(_lines(basis, VALUE, room))) * VALUE.line
    height = max(SYMBOL, text_height) + 2 * INSET
    page.setFillColor(PAPER)
    page.rect(MARGIN, top - height, ROOM, height, stroke=0, fill=1)
    corner = (MARGIN + INSET, top - INSET - SYMBOL)
    _draw_symbol(page, conclusion.outcome, corner, SYMBOL)
    lower = top - INSET - max(0, SYMBOL - text_height) / 2
    lower = _write(page, result, style, (left, lower), room)
    _write(page, basis, VALUE, (left, lower), room)
    return top - height


def _draw_symbol(page: Canvas, outcome: Outcome, corner: tuple[float, float], side: float) -> None:
    """Draw the overlay's symbols: full triangle, diamond, empty ring, crossed square."""
    left, bottom = corner
    right, top, middle = left + side, bottom + side, left + side / 2
    page.setFillColor(COLOUR[outcome])
    page.setStrokeColor(COLOUR[outcome])
    page.setLineWidth(side / 12)
    match outcome:
        case Outcome.PRESENT:
            _draw_polygon(page, [(middle, top), (right, bottom), (left, bottom)], is_full=True)
            page.setFillColor(INK)
            page.setFont(BOLD, side * 0.5)
            page.drawCentredString(middle, bottom + side * 0.14, "!")
        case Outcome.INDETERMINATE:
            half = bottom + side / 2
            corners = [(middle, top), (right, half), (middle, bottom), (left, half)]
            _draw_polygon(page, corners, is_full=False)
            page.setFont(BOLD, side * 0.5)
            page.drawCentredString(middle, bottom + side * 0.32, "?")
        case Outcome.ABSENT:
            page.circle(middle, bottom + side / 2, side * 0.46)
        case Outcome.NOT_ANALYSED:
            page.rect(left, bottom, side, side)
            page.line(left, bottom, right, top)


def _draw_polygon(page: Canvas, corners: list[tuple[float, float]], *, is_full: bool) -> None:
    path = page.beginPath()
    path.moveTo(*corners[0])
    for corner in corners[1:]:
        path.lineTo(*corner)
    path.close()
    page.drawPath(path, stroke=int(not is_full), fill=int(is_full))


def _draw_picture(
    page: Canvas, picture: Image.Image | None, conclusion: Conclusion, top: float
) -> float:
    """Draw the radiograph as large as there is room, or say that there is none."""
    region = conclusion.region if isinstance(conclusion, Prediction) else None
    if picture is None:
        bottom = _draw_placeholder(page, top)
    else:
        scale = min(PICTURE_WIDTH / picture.width, PICTURE_HEIGHT / picture.height)
        width, height = picture.width * scale, picture.height * scale
        corner = (MARGIN + (PICTURE_WIDTH - width) / 2, top - height)
        page.drawImage(ImageReader(_jpeg(picture)), *corner, width, height)
        if region is not None:
            box = pixel_box(region, rows=picture.height, columns=picture.width)
            _draw_box(page, box, (corner[0], top), scale, COLOUR[conclusion.outcome])
        bottom = top - height
    if isinstance(conclusion, NotAnalysed):
        return bottom
    said = NO_REGION if region is None else REGION_IN_REPORT if picture is None else REGION
    return _write(page, said, CAPTION, (MARGIN, bottom - 4), PICTURE_WIDTH)


def _draw_placeholder(page: Canvas, top: float) -> float:
    bottom = top - PLACEHOLDER_HEIGHT
    page.setFillColor(PAPER)
    page.setStrokeColor(EDGE)
    page.setLineWidth(0.5)
    page.rect(MARGIN, bottom, PICTURE_WIDTH, PLACEHOLDER_HEIGHT, stroke=1, fill=1)
    corner = (MARGIN + GAP, top - PLACEHOLDER_HEIGHT / 2 + BODY.line)
    _write(page, NO_PICTURE, BODY, corner, PICTURE_WIDTH - 2 * GAP)
    return bottom


def _draw_box(
    page: Canvas, box: Box, corner: tuple[float, float], scale: float, colour: Color
) -> None:
    """Draw a box of pixels on a picture with this corner at its top left."""
    left, top, right, bottom = (edge * scale for edge in box)
    for width, ink in ((BOX_LINE + 2 * BOX_EDGE, INK), (BOX_LINE, colour)):
        page.setStrokeColor(ink)
        page.setLineWidth(width)
        page.rect(corner[0] + left, corner[1] - bottom, right - left, bottom - top)


def _jpeg(picture: Image.Image) -> BytesIO:
    file = BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    file.seek(0)
    return file


def _draw_facts(page: Canvas, conclusion: Conclusion, top: float) -> float:
    """List beside the picture what must be known to reproduce and to read the result."""
    left = MARGIN + PICTURE_WIDTH + GAP
    room = WIDTH - MARGIN - left
    for label, value in _facts(conclusion):
        top = _write(page, label, LABEL, (left, top), room)
        top = _write(page, value, VALUE, (left, top), room) - 5
    return top


def _facts(conclusion: Conclusion) -> Iterator[tuple[str, str]]:
    model, point = conclusion.model, conclusion.model.operating_point
    if isinstance(conclusion, NotAnalysed):
        yield "Result", "not analysed"
        yield "Reason", str(conclusion.reason)
    else:
        yield "Probability of pneumonia", f"{percent(conclusion.probability)} %"
        yield "Operating point", ascii_text(point.name)
        yield "Threshold", f"{percent(point.threshold)} %"
        low, high = percent(point.indeterminate_low), percent(point.indeterminate_high)
        has_band = point.indeterminate_low < point.indeterminate_high
        yield "Undetermined", f"between {low} % and {high} %" if has_band else "never"
    yield "Model", ascii_text(model.name)
    yield "Model version", ascii_text(model.version)
    yield "Calibrated", "yes" if model.calibrated else "no"


def _draw_reading(page: Canvas, conclusion: Conclusion, top: float) -> None:
    top = _write(page, "How to read this", SUBHEADING, (MARGIN, top), ROOM) - 2
    for paragraph in _reading(conclusion):
        top = _write(page, paragraph, BODY, (MARGIN, top), ROOM) - 3


def _reading(conclusion: Conclusion) -> Iterator[str]:
    """Say what the result means and what it does not mean."""
    if isinstance(conclusion, NotAnalysed):
        yield (
            "Nothing is said about pneumonia: neither that it shows nor that it does not. "
            "Read the radiograph as if this page did not exist."
        )
    else:
        kind = "calibrated estimate" if conclusion.model.calibrated else "uncalibrated estimate"
        yield f"The probability is the model's {kind} that pneumonia shows on this radiograph."
        yield _meaning(conclusion.finding)
    yield (
        "The model looks at one radiograph, for pneumonia alone. It knows no earlier radiograph "
        "and nothing of the patient. What it was trained and measured on, and with which "
        "results, is in its own documentation."
    )
    yield (
        "A program made this page and nobody has verified it. It is not a medical device, is for "
        "research use only, and must not be used for diagnosis or treatment."
    )


def _meaning(finding: Finding) -> str:
    match finding:
        case Finding.PRESENT:
            return (
                "PRESENT: at this operating point the model calls that a pneumonia. "
                "It may be wrong."
            )
        case Finding.ABSENT:
            return (
                "ABSENT: at this operating point the model calls that no pneumonia. That does not "
                "rule pneumonia out, and says nothing of any other finding."
            )
        case Finding.INDETERMINATE:
            return (
                "UNDETERMINED: the probability lies in the band where the model does not commit "
                "itself. That is neither a positive nor a negative result."
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
        top = _write(page, line, SMALL, (MARGIN, top), ROOM)


def _write(
    page: Canvas, text: str, style: _Style, corner: tuple[float, float], room: float
) -> float:
    """Write a text below a corner in lines that fit the room; give where it ends."""
    left, top = corner
    page.setFillColor(style.colour)
    page.setFont(style.font, style.size)
    for line in _lines(text, style, room):
        page.drawString(left, top - style.size, line)
        top -= style.line
    return top


def _lines(text: str, style: _Style, room: float) -> Iterator[str]:
    """Break a text between text_values, and a word that is longer than a line within it."""
    for whole in simpleSplit(text, style.font, style.size, room):
        line = whole
        while _length(line, style) > room:
            fitting = next(
                end for end in range(len(line), 0, -1) if _length(line[:end], style) <= room
            )
            yield line[:fitting]
            line = line[fitting:]
        yield line


def _length(text: str, style: _Style) -> float:
    return float(pdfmetrics.stringWidth(text, style.font, style.size))
