"""95 % confidence intervals: by resampling whole patients, and by Wilson's formula for shares."""

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.predictions import FloatArray, Results

DRAWS: Final = 2000
SEED: Final = 20240611
DIGITS: Final = 6
_PERCENTILES: Final = (2.5, 97.5)
_DRAWS_PER_BLOCK: Final = 200  # 200 x 5,000 images are 8 MB
_Z: Final = 1.959963984540054  # of the normal distribution, 97.5 %

Interval = dict[str, float | list[float | None] | None]
MetricsByDraw = Callable[[Results, FloatArray], dict[str, FloatArray]]


def resamplings(
    patients: NDArray[np.str_], *, draws: int = DRAWS, seed: int = SEED
) -> Iterator[FloatArray]:
    """Yield how often each image counts in each draw, draws x images, in blocks of draws.

    Each draw takes as many patients as there are, with replacement, and all images of each: images
    of one patient are alike, so that resampling images would make the intervals too narrow.
    """
    generator = np.random.default_rng(seed)
    names, owner = np.unique(patients, return_inverse=True)
    for begin in range(0, draws, _DRAWS_PER_BLOCK):
        rows = min(_DRAWS_PER_BLOCK, draws - begin)
        chosen = generator.integers(len(names), size=(rows, len(names)))
        chosen += np.arange(rows)[:, None] * len(names)
        counts = np.bincount(chosen.ravel(), minlength=rows * len(names))
        yield counts.reshape(rows, len(names))[:, owner].astype(float)


def with_intervals(
    results: Results, metrics: MetricsByDraw, *, draws: int = DRAWS, seed: int = SEED
) -> dict[str, Interval]:
    """Return each metric as {"value": …, "ci95": [low, high]}; None where it is undefined."""
    drawn = [metrics(results, w) for w in resamplings(results.patients, draws=draws, seed=seed)]
    return {
        name: interval(float(value[0]), np.concatenate([each[name] for each in drawn]))
        for name, value in metrics(results, results.unit_weights()).items()
    }


def interval(value: float, drawn: FloatArray) -> Interval:
    """Return a value with the middle 95 % of its resampled values."""
    known = drawn[~np.isnan(drawn)]
    bounds = np.percentile(known, _PERCENTILES) if len(known) else (math.nan, math.nan)
    return {"value": rounded(value), "ci95": [rounded(float(bound)) for bound in bounds]}


def wilson(hits: int, total: int) -> Interval:
    """Return a share with its score interval (Wilson, JASA 22, 1927), accurate near 0 and 1."""
    if not total:
        return {"value": None, "ci95": [None, None]}
    low, high = wilson_bounds(hits, total)
    return {"value": rounded(hits / total), "ci95": [rounded(low), rounded(high)]}


def wilson_bounds(hits: int, total: int) -> tuple[float, float]:
    """Return the bounds of Wilson's interval for `hits` of a positive `total`."""
    share, spread = hits / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def rounded(value: float) -> float | None:
    """Round a number as it is published; None for NaN, which JSON does not have."""
    return None if math.isnan(value) else round(value, DIGITS)
