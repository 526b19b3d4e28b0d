"""A synthetic picture that resembles a chest: smooth, so that lossy codecs work well.

Only sums, products and quotients are used, rounded the same on every processor. So the pixels are
the same everywhere, and the HTJ2K codestreams beside this module remain those of this picture.
"""

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]
Picture = NDArray[np.int64]


def chest(rows: int, columns: int, bits: int) -> Picture:
    """Return brightness (bright bone, dark lungs) as (rows, columns) in [0, 2**bits - 1]."""
    v, u = np.mgrid[0:rows, 0:columns].astype(np.float64)
    u = 2 * (u + 0.5) / columns - 1  # -1 at the left edge, 1 at the right
    v = 2 * (v + 0.5) / rows - 1
    body = _bump(u / 1.1, (v - 0.2) / 1.5)
    lungs = _bump((u + 0.42) / 0.38, (v + 0.05) / 0.75) + _bump(
        (u - 0.42) / 0.38, (v + 0.05) / 0.75
    )
    heart = _bump((u - 0.12) / 0.45, (v - 0.35) / 0.5)
    spine = _bump(u / 0.15, 0 * v)
    phase = np.mod(7 * v + 2 * u * u, 1.0)
    ribs = (4 * phase * (1 - phase)) ** 2 * body
    brightness = 0.05 + 0.6 * body - 0.45 * lungs + 0.25 * heart + 0.12 * spine + 0.06 * ribs
    picture: Picture = np.rint(np.clip(brightness, 0, 1) * (2**bits - 1)).astype(np.int64)
    return picture


def _bump(u: Plane, v: Plane) -> Plane:
    """Return a bump of height 1 over the unit circle, level at its top and its edge."""
    hill: Plane = np.clip(1 - u * u - v * v, 0, 1) ** 2
    return hill
