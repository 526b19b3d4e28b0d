"""The picture of an overlay: the radiograph untouched, and above it a strip that says the result.

The strip is told apart without colour: by its words and by the shape of its symbol. Colours are
of a palette that the colour-blind tell apart (Okabe and Ito) and that differ as greys too; a
negative has none, so that nothing draws the eye to it.
"""

import functools
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from workers.output import ReportError
from workers.prediction import Finding, Prediction
from workers.report_text import CAUTION, ascii_text, model_text, percent

LONGEST_SIDE: Final = 1024
NARROWEST: Final = 512  # a narrower radiograph is set between black margins, so the strip fits

ORANGE: Final = (230, 159, 0)
BLUE: Final = (86, 180, 233)
WHITE: Final = (255, 255, 255)
GREY: Final = (200, 200, 200)
STRIP: Final = (24, 24, 24)
COLOUR: Final = {Finding.PRESENT: ORANGE, Finding.INDETERMINATE: BLUE, Finding.ABSENT: GREY}
WORD: Final = {
    Finding.PRESENT: "PRESENT",
    Finding.INDETERMINATE: "UNDETERMINED",
    Finding.ABSENT: "ABSENT",
}

LINE_SPACING: Final = 1.3
SMALLEST_TEXT: Final = 11

Colour = tuple[int, int, int]
Pixels = npt.NDArray[np.float32]


def picture(pixels: Pixels, prediction: Prediction) -> tuple[Image.Image, tuple[int, int]]:
    """Draw the overlay as RGB; also give rows and columns of the radiograph within it.

    `pixels` is rows x columns of displayed brightness in [0, 1].
    """
    radiograph = _shrunk(pixels)
    width = max(radiograph.width, NARROWEST)
    strip = _strip(width, prediction)
    canvas = Image.new("RGB", (width, strip.height + radiograph.height))
    canvas.paste(strip, (0, 0))
    canvas.paste(radiograph, ((width - radiograph.width) // 2, strip.height))
    return canvas, (radiograph.height, radiograph.width)


def _strip_height(width: int) -> int:
    return 64 + width // 16


def _shrunk(pixels: Pixels) -> Image.Image:
    """Give the radiograph in grey, no larger than leaves room for the strip above it."""
    levels = np.fmax(pixels, 0)  # NaN becomes black
    np.minimum(levels, 1, out=levels)
    levels *= 255
    levels += 0.5
    grey = Image.fromarray(levels.astype(np.uint8))
    room = LONGEST_SIDE - _strip_height(LONGEST_SIDE)
    ratio = min(1.0, LONGEST_SIDE / grey.width, room / grey.height)
    size = (max(1, round(grey.width * ratio)), max(1, round(grey.height * ratio)))
    return grey if size == grey.size else grey.resize(size, Image.Resampling.HAMMING)


def _strip(width: int, prediction: Prediction) -> Image.Image:
    height = _strip_height(width)
    margin = height // 10
    strip = Image.new("RGB", (width, height), STRIP)
    draw = ImageDraw.Draw(strip)
    _draw_symbol(draw, prediction.finding, (margin, margin), height - 2 * margin)
    left, top = height, margin
    room = width - left - margin
    for text, share, colour in _lines(prediction):
        size = round(height * share)
        fitting, font = _fitted(text, size, room)
        draw.text((left, top), fitting, font=font, fill=colour)
        top += round(size * LINE_SPACING)
    return strip


def _lines(prediction: Prediction) -> tuple[tuple[str, float, Colour], ...]:
    """Give the strip's lines: text, height as a share of the strip's, colour."""
    model, point = prediction.model, prediction.model.operating_point
    result = (
        f"Pneumonia {WORD[prediction.finding]}, probability {percent(prediction.probability)} %"
    )
    threshold = f"Operating point {ascii_text(point.name)}: from {percent(point.threshold)} %"
    if point.indeterminate_low < point.indeterminate_high:
        band = f"{percent(point.indeterminate_low)} to {percent(point.indeterminate_high)} %"
        threshold += f", undetermined {band}"
    calibrated = "calibrated" if model.calibrated else "not calibrated"
    return (
        (result, 0.24, COLOUR[prediction.finding]),
        (threshold, 0.14, WHITE),
        (f"Model {model_text(model)}, {calibrated}", 0.14, WHITE),
        (CAUTION, 0.14, WHITE),
    )


def _fitted(text: str, size: int, room: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Give a text and the font in which it fits the room: smaller, and at last cut short."""
    font = _font(size)
    while font.getlength(text) > room and size > SMALLEST_TEXT:
        size -= 1
        font = _font(size)
    if font.getlength(text) <= room:
        return text, font
    while font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "...", font


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)  # Pillow's own: no font package is needed
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ReportError("this Pillow was built without FreeType and cannot draw text")
    return font


def _draw_symbol(
    draw: ImageDraw.ImageDraw, finding: Finding, corner: tuple[int, int], side: int
) -> None:
    """Draw a full triangle for present, a diamond for undetermined, an empty ring for absent."""
    left, top = corner
    middle, right, bottom = side // 2, left + side, top + side
    centre = (left + middle, top + middle)
    colour = COLOUR[finding]
    line = max(2, side // 12)
    match finding:
        case Finding.PRESENT:
            draw.polygon([(left + middle, top), (right, bottom), (left, bottom)], fill=colour)
            low = (centre[0], top + side * 2 // 3)
            draw.text(low, "!", font=_font(side // 2), fill=STRIP, anchor="mm")
        case Finding.INDETERMINATE:
            corners = [(centre[0], top), (right, centre[1]), (centre[0], bottom), (left, centre[1])]
            draw.polygon(corners, outline=colour, width=line)
            draw.text(centre, "?", font=_font(side // 2), fill=colour, anchor="mm")
        case Finding.ABSENT:
            draw.ellipse((left, top, right, bottom), outline=colour, width=line)
