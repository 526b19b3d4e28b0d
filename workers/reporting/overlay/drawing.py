"""Draw an overlay: the radiograph unchanged, and above it a strip that states the result.

The result can be read without colour, from the words and from the shape of the symbol. The colours
are from a palette that colour-blind people can distinguish (Okabe and Ito) and differ as greys
too; a negative has none, so that it attracts no attention.
"""

import functools
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from service.domain.routing import Outcome
from workers.prediction import Conclusion, Prediction
from workers.reporting.geometry import pixel_box
from workers.reporting.output import ReportError
from workers.reporting.picture import (
    BLUE,
    GREY,
    ORANGE,
    WHITE,
    Colour,
    Pixels,
    grey_image,
    strip_height,
)
from workers.reporting.wording import CAUTION, REGION_CAUTION, basis_line, model_text, result_line

NARROWEST: Final = 512  # a narrower radiograph gets black margins, so that the strip fits

STRIP: Final = (24, 24, 24)
BLACK: Final = (0, 0, 0)
COLOUR: Final = {
    Outcome.PRESENT: ORANGE,
    Outcome.INDETERMINATE: BLUE,
    Outcome.ABSENT: GREY,
    Outcome.NOT_ANALYSED: WHITE,
}
BOX_LINES_PER_SIDE: Final = 340  # a line of three pixels in a picture of 1024

LINE_SPACING: Final = 1.3
HEIGHT_OF_OTHERS: Final = 0.44  # of the strip's height, for all lines below the result
SMALLEST_TEXT: Final = 11


def draw_overlay(
    pixels: Pixels | None, conclusion: Conclusion
) -> tuple[Image.Image, tuple[int, int] | None]:
    """Draw the overlay.

    Args:
        pixels: Displayed brightness in [0, 1], rows x columns; None if there are no pixels to show,
            so that the overlay is the strip alone.
        conclusion: What was concluded about the source.

    Returns:
        The overlay in RGB, and rows and columns of the radiograph within it.
    """
    if pixels is None:
        return _strip(NARROWEST, conclusion), None
    radiograph = _with_region(grey_image(pixels), conclusion)
    width = max(radiograph.width, NARROWEST)
    strip = _strip(width, conclusion)
    canvas = Image.new("RGB", (width, strip.height + radiograph.height))
    canvas.paste(strip, (0, 0))
    canvas.paste(radiograph, ((width - radiograph.width) // 2, strip.height))
    return canvas, (radiograph.height, radiograph.width)


def _with_region(grey: Image.Image, conclusion: Conclusion) -> Image.Image:
    """Draw a box around the region, if the conclusion has one.

    A black line on either side keeps the box visible on bright bone and on dark lung, on a
    monochrome monitor too.
    """
    region = conclusion.region if isinstance(conclusion, Prediction) else None
    if region is None:
        return grey
    coloured = grey.convert("RGB")
    left, top, right, bottom = pixel_box(region, rows=grey.height, columns=grey.width)
    box = (round(left), round(top), round(right) - 1, round(bottom) - 1)
    line = max(2, max(grey.size) // BOX_LINES_PER_SIDE)
    draw = ImageDraw.Draw(coloured)
    draw.rectangle(_grown(box, 1), outline=BLACK, width=line + 2)
    draw.rectangle(box, outline=COLOUR[conclusion.outcome], width=line)
    return coloured


def _grown(box: tuple[int, int, int, int], by: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = box
    return left - by, top - by, right + by, bottom + by


def _strip(width: int, conclusion: Conclusion) -> Image.Image:
    height = strip_height(width)
    margin = height // 10
    strip = Image.new("RGB", (width, height), STRIP)
    draw = ImageDraw.Draw(strip)
    draw_symbol(draw, conclusion.outcome, (margin, margin), height - 2 * margin)
    left, top = height, margin
    text_width = width - left - margin
    for text, share, colour in _lines(conclusion):
        size = round(height * share)
        fitting, font = _fit_text(text, size, text_width)
        draw.text((left, top), fitting, font=font, fill=colour)
        top += round(size * LINE_SPACING)
    return strip


def _lines(conclusion: Conclusion) -> tuple[tuple[str, float, Colour], ...]:
    """Return the strip's lines: text, height as a share of the strip's, colour."""
    model = conclusion.model
    calibrated = "calibrated" if model.calibrated else "not calibrated"
    others = [basis_line(conclusion), f"Model {model_text(model)}, {calibrated}", CAUTION]
    if isinstance(conclusion, Prediction) and conclusion.region is not None:
        others.insert(1, f"The box is {REGION_CAUTION}")
    share = HEIGHT_OF_OTHERS / len(others)
    return (
        (result_line(conclusion), 0.24, COLOUR[conclusion.outcome]),
        *((text, share, WHITE) for text in others),
    )


def _fit_text(text: str, size: int, width: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Fit a text into a width in pixels by a smaller font, and at the smallest by truncating it."""
    font = _font(size)
    while font.getlength(text) > width and size > SMALLEST_TEXT:
        size -= 1
        font = _font(size)
    if font.getlength(text) <= width:
        return text, font
    while font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "...", font


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)  # Pillow's own: no font package is needed
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise ReportError("this Pillow was built without FreeType and cannot draw text")
    return font


def draw_symbol(
    draw: ImageDraw.ImageDraw, outcome: Outcome, corner: tuple[int, int], side: int
) -> None:
    """Draw the symbol of an outcome, a different shape for each.

    Present has a full triangle, undetermined a diamond, absent an empty circle, and not analysed a
    square with a diagonal.
    """
    left, top = corner
    middle, right, bottom = side // 2, left + side, top + side
    centre = (left + middle, top + middle)
    colour = COLOUR[outcome]
    line = max(2, side // 12)
    match outcome:
        case Outcome.PRESENT:
            draw.polygon([(left + middle, top), (right, bottom), (left, bottom)], fill=colour)
            low = (centre[0], top + side * 2 // 3)
            draw.text(low, "!", font=_font(side // 2), fill=STRIP, anchor="mm")
        case Outcome.INDETERMINATE:
            corners = [(centre[0], top), (right, centre[1]), (centre[0], bottom), (left, centre[1])]
            draw.polygon(corners, outline=colour, width=line)
            draw.text(centre, "?", font=_font(side // 2), fill=colour, anchor="mm")
        case Outcome.ABSENT:
            draw.ellipse((left, top, right, bottom), outline=colour, width=line)
        case Outcome.NOT_ANALYSED:
            draw.rectangle((left, top, right, bottom), outline=colour, width=line)
            draw.line((left, bottom, right, top), fill=colour, width=line)
