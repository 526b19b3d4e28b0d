"""The radiograph as a grey image and the colours, shared by the overlay and the PDF."""

from typing import Final, Protocol

from PIL import Image

from workers.grey_levels import Picture, grey_levels
from workers.reporting.output import ReportError
from workers.tones import Tones

LONGEST_SIDE: Final = 1024

ORANGE: Final = (230, 159, 0)
BLUE: Final = (86, 180, 233)
WHITE: Final = (255, 255, 255)
GREY: Final = (200, 200, 200)

Colour = tuple[int, int, int]
Pixels = Picture


class Shown(Protocol):
    """The pixels of a source for a viewer, and the tones in which they are shown."""

    @property
    def picture(self) -> Pixels:
        """The displayed brightness, rows x columns, 0 black to 1 white, or its 8-bit levels."""

    @property
    def tones(self) -> Tones | None:
        """How the picture was made, if the bundle says so."""


def require_two_dimensions(pixels: Pixels | None) -> None:
    """Require pixels, if there are any, to be rows x columns.

    Raises:
        ReportError: the pixels have another shape, or none are there.
    """
    if pixels is not None and (pixels.ndim != 2 or pixels.size == 0):  # noqa: PLR2004 -- rows and columns
        raise ReportError(f"the pixels have the shape {pixels.shape}, not rows and columns")


def grey_image(pixels: Pixels, *, findings: int = 1) -> Image.Image:
    """Convert pixels to an 8-bit grey image that leaves space for the result strip above it.

    Args:
        pixels: Displayed brightness, rows x columns, 0 black to 1 white, where NaN becomes black,
            or its 8-bit levels.
        findings: The number of findings in the strip.

    Returns:
        The image; with the strip it is at most `LONGEST_SIDE` high and wide.
    """
    grey = Image.fromarray(grey_levels(pixels))
    highest = LONGEST_SIDE - strip_height(LONGEST_SIDE, findings=findings)
    ratio = min(1.0, LONGEST_SIDE / grey.width, highest / grey.height)
    size = (max(1, round(grey.width * ratio)), max(1, round(grey.height * ratio)))
    return grey if size == grey.size else grey.resize(size, Image.Resampling.HAMMING)


def strip_height(width: int, *, findings: int = 1) -> int:
    """Return the height of the result strip above a radiograph of this width, in pixels.

    Each further finding has half as much again, so that none is written smaller than one alone.
    """
    return (64 + width // 16) * (1 + findings) // 2
