"""Drawing on a PDF page: text, the symbols of the outcomes, and a box on an image.

Lengths are in points of 1/72 inch; (0, 0) is the lower left corner of the page.
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
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from service.domain.routing import Outcome
from workers.reporting.geometry import Box

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
BOX_LINE: Final = 1.6
BOX_EDGE: Final = 0.7  # of black on either side: visible on bright bone and on dark lung
JPEG_QUALITY: Final = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """The font, size, colour and leading of a text."""

    font: str = PLAIN
    size: float
    colour: Color = INK
    leading: float = 1.35  # as a multiple of the size

    @property
    def line(self) -> float:
        """The height of a line, in points."""
        return self.size * self.leading


HEADING: Final = Style(font=BOLD, size=15)
WARNING: Final = Style(font=BOLD, size=9.5)
RESULT: Final = Style(font=BOLD, size=16)
LABEL: Final = Style(size=7.5, colour=PALE_INK)
VALUE: Final = Style(size=9.5)
CAPTION: Final = Style(size=8.5)
SUBHEADING: Final = Style(font=BOLD, size=10)
BODY: Final = Style(size=9)
SMALL: Final = Style(size=7.5, colour=PALE_INK)


@functools.cache
def register_fonts() -> None:
    """Register the fonts with reportlab, once in a process."""
    for font in (PLAIN, BOLD):
        pdfmetrics.registerFont(TTFont(font, str(FONTS / f"{font}.ttf")))


def write_text(
    page: Canvas, text: str, style: Style, corner: tuple[float, float], width: float
) -> float:
    """Write a text below its upper left corner, broken into lines of at most this width.

    Returns:
        The lower edge of the text.
    """
    left, top = corner
    page.setFillColor(style.colour)
    page.setFont(style.font, style.size)
    for line in text_lines(text, style, width):
        page.drawString(left, top - style.size, line)
        top -= style.line
    return top


def text_lines(text: str, style: Style, width: float) -> Iterator[str]:
    """Break a text between words, and within a word that is longer than a line."""
    for whole in simpleSplit(text, style.font, style.size, width):
        line = whole
        while text_width(line, style) > width:
            fitting = next(
                end for end in range(len(line), 0, -1) if text_width(line[:end], style) <= width
            )
            yield line[:fitting]
            line = line[fitting:]
        yield line


def text_width(text: str, style: Style) -> float:
    """Return the width of a text on one line, in points."""
    return float(pdfmetrics.stringWidth(text, style.font, style.size))


def draw_symbol(page: Canvas, outcome: Outcome, corner: tuple[float, float], side: float) -> None:
    """Draw the overlay's symbols: full triangle, diamond, empty circle, square with a diagonal."""
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


def draw_box(
    page: Canvas, box: Box, corner: tuple[float, float], scale: float, colour: Color
) -> None:
    """Draw a box on a picture.

    Args:
        page: The page to draw on.
        box: The box, in pixels of the picture.
        corner: The upper left corner of the picture on the page.
        scale: Points per pixel.
        colour: The colour of the line.
    """
    left, top, right, bottom = (edge * scale for edge in box)
    for line, ink in ((BOX_LINE + 2 * BOX_EDGE, INK), (BOX_LINE, colour)):
        page.setStrokeColor(ink)
        page.setLineWidth(line)
        page.rect(corner[0] + left, corner[1] - bottom, right - left, bottom - top)


def encode_jpeg(picture: Image.Image) -> BytesIO:
    """Encode a picture as a JPEG file in memory."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    file.seek(0)
    return file
