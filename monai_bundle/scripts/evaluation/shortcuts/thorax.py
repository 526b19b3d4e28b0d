"""Measure where the thorax is, and how much of the attention lies in it.

There is no outline of the lungs in any of the sets. The thorax is measured on the image: of the
places darker than the threshold between lung and tissue (Otsu 1979) those that are enclosed, not
connected with the edge of the image, are lungs; their common box, a little larger, is the thorax.
Where no box of a likely size results, the fixed one of `scripts.robustness` is used.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import max_pool2d

from scripts.data.predictions import FloatArray
from scripts.postprocessing.attention import enlarge
from scripts.robustness.attention_checks import THORAX

_BINS: Final = 64
LEAST_LUNG: Final = 0.015  # of the image, the area of a dark place that counts as lung
LEAST_WIDTH: Final = 0.4  # of the image, of a likely thorax
LEAST_HEIGHT: Final = 0.3
MARGIN: Final = 0.03  # of the image, around the lungs
_EDGE: Final = 0.04  # of the image, beyond which a place counts as connected with the edge
Box = tuple[float, float, float, float]  # top, left, bottom, right, as fractions


def measure_thorax(layout: NDArray[np.floating]) -> Box | None:
    """Return the box around the lungs in an image NxN, or None without a likely one."""
    side = len(layout)
    dark = torch.from_numpy(np.ascontiguousarray(layout < _otsu(np.asarray(layout, dtype=float))))
    edge = torch.ones_like(dark)
    inset = max(1, round(_EDGE * side))
    edge[inset:-inset, inset:-inset] = False
    enclosed = dark & ~_grown(dark & edge, dark)
    lungs = torch.zeros_like(dark)
    while enclosed.any():
        start = torch.zeros_like(dark)
        start.view(-1)[enclosed.view(-1).int().argmax()] = True
        place = _grown(start, enclosed)
        enclosed &= ~place
        if float(place.float().mean()) >= LEAST_LUNG:
            lungs |= place
    return _likely_box(lungs.numpy())


def _grown(start: torch.Tensor, within: torch.Tensor) -> torch.Tensor:
    """Return what of `within` is connected with `start`."""
    found = start & within
    while True:
        wider = max_pool2d(found[None, None].float(), 3, 1, 1)[0, 0].bool() & within
        if torch.equal(wider, found):
            return found
        found = wider


def _likely_box(lungs: NDArray[np.bool_]) -> Box | None:
    if not lungs.any():
        return None
    side = len(lungs)
    rows, columns = np.flatnonzero(lungs.any(1)), np.flatnonzero(lungs.any(0))
    if (columns[-1] + 1 - columns[0]) / side < LEAST_WIDTH:
        return None
    if (rows[-1] + 1 - rows[0]) / side < LEAST_HEIGHT:
        return None
    return (
        max(0.0, float(rows[0]) / side - MARGIN),
        max(0.0, float(columns[0]) / side - MARGIN),
        min(1.0, float(rows[-1] + 1) / side + MARGIN),
        min(1.0, float(columns[-1] + 1) / side + MARGIN),
    )


def _otsu(values: FloatArray) -> float:
    """Return the threshold that separates two groups of values best (Otsu 1979)."""
    counts, edges = np.histogram(values, _BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum()
    above = counts.sum() - below
    sums = (counts * middles).cumsum()
    with np.errstate(invalid="ignore", divide="ignore"):
        gap = sums / below - (sums[-1] - sums) / above
    between = np.nan_to_num(below * above * gap**2)
    return float(edges[int(between.argmax()) + 1])


def share_inside(attention: FloatArray, layout: NDArray[np.floating]) -> tuple[float, bool]:
    """Return the share of the positive evidence of a map inside the thorax, and if it was measured.

    NaN for a map that speaks against pneumonia on the whole.
    """
    box = measure_thorax(layout)
    if attention.mean() <= 0:
        return float("nan"), box is not None
    fine = enlarge(torch.from_numpy(attention).float()).clamp(min=0)
    side = len(fine)
    top, left, bottom, right = (round(edge * side) for edge in box or THORAX)
    return float(fine[top:bottom, left:right].sum() / fine.sum()), box is not None
