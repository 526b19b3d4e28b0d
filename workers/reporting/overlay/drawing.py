"""Draw an overlay: the radiograph unchanged, and above it a strip that states the result.

Where the model reads another abnormality too, the strip states both findings in lines of one size,
each with its own symbol: the circle of an absent pneumonia alone would stand for the whole
radiograph.

The result can be read without colour, from the words and from the shape of the symbol. The colours
are from a palette that colour-blind people can distinguish (Okabe and Ito) and differ as greys
too; a negative has none, so that it attracts no attention.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from service.domain.routing import Outcome
from workers.prediction import Conclusion, OtherAbnormality, Prediction, Region
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
from workers.reporting.wording import (
    CAUTION,
    REGION_CAUTION,
    basis_line,
    model_text,
    other_basis_line,
    other_line,
    result_line,
)

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
HEIGHT_OF_RESULT: Final = 0.24  # of the strip's height
HEIGHT_OF_OTHERS: Final = 0.44  # for all lines below the result
HEIGHT_OF_EACH_OF_TWO: Final = 0.16  # of a strip with two findings, which is higher
HEIGHT_BELOW_TWO: Final = 0.34
SMALLEST_TEXT: Final = 11
MOST_STRIPS: Final = 16  # kept, each of some hundred kilobytes
WHOLE_IMAGE: Final = Region(top=0, left=0, bottom=1, right=1)


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
    findings = 1 if _other(conclusion) is None else 2
    radiograph = _with_region(grey_image(pixels, findings=findings), conclusion)
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


def _other(conclusion: Conclusion) -> OtherAbnormality | None:
    return conclusion.other if isinstance(conclusion, Prediction) else None


def _strip(width: int, conclusion: Conclusion) -> Image.Image:
    """Draw the strip; what radiographs may share of it is drawn once, being most of the work."""
    strip = _shared_strip(width, _without_numbers(conclusion)).copy()
    other = _other(conclusion)
    if other is None:
        size, corner = _place_of_result(strip)
        _write_line(strip, result_line(conclusion), size, corner, COLOUR[conclusion.outcome])
        return strip
    size, left, top = _place_of_findings(strip)
    for outcome, text in (
        (conclusion.outcome, result_line(conclusion)),
        (Outcome(other.finding), other_line(other)),
    ):
        top = _write_line(strip, text, size, (left, top), COLOUR[outcome])
    return strip


def _without_numbers(conclusion: Conclusion) -> Conclusion:
    """Return a conclusion with what the strip says beside the results themselves."""
    if not isinstance(conclusion, Prediction):
        return conclusion
    other = conclusion.other
    return replace(
        conclusion,
        probability=0,
        region=WHOLE_IMAGE if conclusion.region else None,
        other=replace(other, probability=0) if other else None,
        attention=None,
    )


@functools.lru_cache(MOST_STRIPS)
def _shared_strip(width: int, conclusion: Conclusion) -> Image.Image:
    """Draw a strip without its results: do not change it."""
    other = _other(conclusion)
    height = strip_height(width, findings=1 if other is None else 2)
    strip = Image.new("RGB", (width, height), STRIP)
    if other is None:
        _draw_one_finding(strip, conclusion)
    else:
        _draw_both_findings(strip, conclusion, other)
    return strip


def _draw_one_finding(strip: Image.Image, conclusion: Conclusion) -> None:
    """Draw a symbol as high as the strip, and the lines below the result."""
    margin = _margin(strip)
    draw_symbol(
        ImageDraw.Draw(strip), conclusion.outcome, (margin, margin), strip.height - 2 * margin
    )
    size, (left, top) = _place_of_result(strip)
    _write_others(strip, _other_lines(conclusion), HEIGHT_OF_OTHERS, (left, top + _line(size)))


def _place_of_result(strip: Image.Image) -> tuple[int, tuple[int, int]]:
    """Return the size of the one result, and its corner."""
    return round(strip.height * HEIGHT_OF_RESULT), (strip.height, _margin(strip))


def _margin(strip: Image.Image) -> int:
    return strip.height // 10


def _line(size: int) -> int:
    """Return how far below a line of text of this size the next one begins."""
    return round(size * LINE_SPACING)


def _draw_both_findings(
    strip: Image.Image, conclusion: Conclusion, other: OtherAbnormality
) -> None:
    """Draw a symbol for each finding, and the lines below them."""
    size, left, top = _place_of_findings(strip)
    for outcome in (conclusion.outcome, Outcome(other.finding)):
        draw_symbol(ImageDraw.Draw(strip), outcome, (_margin(strip), top), size)
        top += _line(size)
    _write_others(strip, _other_lines(conclusion), HEIGHT_BELOW_TWO, (left, top))


def _place_of_findings(strip: Image.Image) -> tuple[int, int, int]:
    """Return the size of each of two findings, where their text begins, and where the first is."""
    margin, size = _margin(strip), round(strip.height * HEIGHT_OF_EACH_OF_TWO)
    return size, margin + size + margin, margin


def _write_others(
    strip: Image.Image, lines: Sequence[str], share: float, corner: tuple[int, int]
) -> None:
    """Write lines in white that have this share of the strip's height together."""
    left, top = corner
    for text in lines:
        size = round(strip.height * share / len(lines))
        top = _write_line(strip, text, size, (left, top), WHITE)


def _write_line(
    strip: Image.Image, text: str, size: int, corner: tuple[int, int], colour: Colour
) -> int:
    """Write a line of text and return where the next one begins."""
    left, top = corner
    fitting, font = _fit_text(text, size, strip.width - left - _margin(strip))
    ImageDraw.Draw(strip).text(corner, fitting, font=font, fill=colour)
    return top + _line(size)


def _other_lines(conclusion: Conclusion) -> list[str]:
    """Return the lines below the result."""
    model, other = conclusion.model, _other(conclusion)
    calibrated = "calibrated" if model.calibrated else "not calibrated"
    lines = [basis_line(conclusion)]
    if other is not None:
        lines.append(other_basis_line(other))
    if isinstance(conclusion, Prediction) and conclusion.region is not None:
        lines.append(f"The box is {REGION_CAUTION}")
    return [*lines, f"Model {model_text(model)}, {calibrated}", CAUTION]


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
