"""Convert a region to pixels, the same way for outputs of every kind."""

from workers.prediction import Region

Box = tuple[float, float, float, float]  # left, top, right, bottom


def pixel_box(region: Region, *, rows: int, columns: int) -> Box:
    """Return a region's left, top, right and bottom edge in pixels of an image of this size.

    0 is the outer edge of the first pixel and `columns` that of the last, as in SCOORD
    (PS3.3 C.18.6.1.1). Edges are rounded to a quarter of a pixel, which FL represents exactly
    (PS3.5 6.2).
    """
    left, right = (_quarters(edge * columns) for edge in (region.left, region.right))
    top, bottom = (_quarters(edge * rows) for edge in (region.top, region.bottom))
    return left, top, right, bottom


def _quarters(pixels: float) -> float:
    return round(4 * pixels) / 4
