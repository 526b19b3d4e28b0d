"""Measure where the thorax is, and how much of the attention lies in it.

There is no outline of the lungs in any of the sets. The thorax is measured on the image: places
darker than their wider surroundings that are enclosed, not connected with the edge of the image,
and lie on both sides, are lungs; their common box, a little larger, is the thorax. Of several
limits of darkness the one with the most lung counts. Where none gives a box of a likely size, the
fixed box of `scripts.robustness` is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from scripts.data.predictions import FloatArray
from scripts.postprocessing.attention import enlarge
from scripts.robustness.attention_checks import THORAX

SURROUNDINGS: Final = 0.55  # of the image, the width that a place is compared with
LIMITS: Final = (0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15)  # darkest share of the image
LEAST_LUNG: Final = 0.02  # of the image, the area of a dark place that counts as lung
LEAST_SIDE: Final = 0.2  # of the lungs, on either side of the box's middle
LIKELY_WIDTH: Final = (0.4, 0.95)  # of the image, of a thorax
LIKELY_HEIGHT: Final = (0.3, 0.95)
MARGIN: Final = 0.03  # of the image, around the lungs
_EDGE: Final = 0.04  # of the image: a place this near is connected with the edge
Box = tuple[float, float, float, float]  # top, left, bottom, right, as fractions


def measure_thorax(layout: NDArray[np.floating]) -> Box | None:
    """Return the box around the lungs in an image NxN, or None without a likely one."""
    found = max(_candidates(layout), default=None, key=lambda each: each[0])
    return found[1] if found else None


def _candidates(layout: NDArray[np.floating]) -> Iterator[tuple[float, Box]]:
    """Yield the area of the lungs and their box for each limit that gives a likely one."""
    contrast = _contrast(torch.from_numpy(np.array(layout, dtype=np.float32)))
    for limit in LIMITS:
        lungs = _lungs(contrast <= torch.quantile(contrast.flatten(), limit))
        if box := _likely_box(lungs.numpy()):
            yield float(lungs.float().mean()), box


def _contrast(layout: Tensor) -> Tensor:
    """Return how much brighter each place is than its surroundings."""
    width = 2 * round(SURROUNDINGS * len(layout) / 2) + 1
    mean = avg_pool2d(layout[None, None], width, 1, width // 2, count_include_pad=False)[0, 0]
    return layout - mean


def _lungs(dark: Tensor) -> Tensor:
    """Return the large dark places that no bridge of one place connects with the edge."""
    narrowed = ~max_pool2d((~dark)[None, None].float(), 3, 1, 1)[0, 0].bool()
    edge = torch.ones_like(dark)
    inset = max(1, round(_EDGE * len(dark)))
    edge[inset:-inset, inset:-inset] = False
    enclosed = narrowed & ~_grown(narrowed & edge, narrowed)
    lungs = torch.zeros_like(dark)
    while enclosed.any():
        start = torch.zeros_like(dark)
        start.view(-1)[enclosed.reshape(-1).int().argmax()] = True
        place = _grown(start, enclosed)
        enclosed &= ~place
        if float(place.float().mean()) >= LEAST_LUNG:
            lungs |= place
    return max_pool2d(lungs[None, None].float(), 3, 1, 1)[0, 0].bool()


def _grown(start: Tensor, within: Tensor) -> Tensor:
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
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    of_left = lungs[:, : (left + right) // 2].sum() / lungs.sum()
    is_likely = (
        LIKELY_WIDTH[0] <= (right - left) / side <= LIKELY_WIDTH[1]
        and LIKELY_HEIGHT[0] <= (bottom - top) / side <= LIKELY_HEIGHT[1]
        and LEAST_SIDE <= of_left <= 1 - LEAST_SIDE
    )
    if not is_likely:
        return None
    return (
        max(0.0, float(top) / side - MARGIN),
        max(0.0, float(left) / side - MARGIN),
        min(1.0, float(bottom) / side + MARGIN),
        min(1.0, float(right) / side + MARGIN),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideThorax:
    """Where the attention of radiographs lies, as parallel arrays; NaN without attention."""

    shares: FloatArray  # of the positive evidence, inside the thorax
    areas: FloatArray  # of the thorax, of the image: the share of a map that is the same everywhere
    measured: FloatArray  # 1.0 where the thorax was measured, 0.0 where it is the fixed box


def inside_thorax(
    attention: FloatArray, layouts: NDArray[np.floating], *, least: float = 0.0
) -> InsideThorax:
    """Measure every map of `attention`, N x h x w, whose mean is above `least`.

    A map that speaks against pneumonia on the whole is no attention.
    """
    found = np.full((3, len(attention)), np.nan)
    for place in np.flatnonzero(attention.mean((1, 2)) > least):
        box = measure_thorax(layouts[place])
        fine = enlarge(torch.from_numpy(attention[place]).float()).clamp(min=0)
        side = len(fine)
        top, left, bottom, right = (round(edge * side) for edge in box or THORAX)
        share = fine[top:bottom, left:right].sum() / fine.sum()
        area = (bottom - top) * (right - left) / side**2
        found[:, place] = float(share), area, float(box is not None)
    return InsideThorax(shares=found[0], areas=found[1], measured=found[2])
