"""The picture of a radiograph for people, as displayed brightness or as the levels of a display."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
# rows x columns: brightness from 0, black, to 1, white, or levels from 0 to 255
Picture = NDArray[np.float32] | Levels

_ROWS_AT_ONCE: Final = 32  # what they need stays in a cache


def grey_levels(picture: Picture) -> Levels:
    """Return the 8-bit levels of a picture, rows x columns; NaN becomes black."""
    if picture.dtype == np.uint8:
        return picture.astype(np.uint8, copy=False)
    levels = np.empty(picture.shape, np.uint8)
    for top in range(0, len(picture), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        some = np.fmax(picture[rows], 0)  # NaN becomes black
        np.minimum(some, 1, out=some)
        some *= 255
        some += 0.5
        levels[rows] = some
    return levels
