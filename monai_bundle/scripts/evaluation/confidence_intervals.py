"""95 % intervals: of figures by resampling whole patients, of shares by Wilson's formula."""

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scripts.evaluation.metrics import FloatArray, Results

DRAWS: Final = 2000
SEED: Final = 20240611
DIGITS: Final = 6
_PERCENTILES: Final = (2.5, 97.5)
_AT_ONCE: Final = 200  # draws; 200 x 5,000 images are 8 MB
_Z: Final = 1.959963984540054  # of the normal distribution, 97.5 %

Interval = dict[str, float | list[float | None] | None]
Figures = Callable[[Results, FloatArray], dict[str, FloatArray]]


def resamplings(
    patients: NDArray[np.str_], *, draws: int = DRAWS, seed: int = SEED
) -> Iterator[FloatArray]:
    """Give, some draws at a time, how often each image counts: draws x images.

    Each draw takes as many patients as there are, with replacement, and all images of each:
    images of one patient are alike, so images drawn alone would make the intervals too narrow.
    """
    generator = np.random.default_rng(seed)
    names, owner = np.unique(patients, return_inverse=True)
    for begin in range(0, draws, _AT_ONCE):
        rows = min(_AT_ONCE, draws - begin)
        chosen = generator.integers(len(names), size=(rows, len(names)))
        chosen += np.arange(rows)[:, None] * len(names)
        counts = np.bincount(chosen.ravel(), minlength=rows * len(names))
        yield counts.reshape(rows, len(names))[:, owner].astype(float)


def with_intervals(
    results: Results, figures: Figures, *, draws: int = DRAWS, seed: int = SEED
) -> dict[str, Interval]:
    """Give each figure as {"value": …, "ci95": [low, high]}; None where it has no meaning."""
    drawn = [figures(results, w) for w in resamplings(results.patients, draws=draws, seed=seed)]
    return {
        name: interval(float(value[0]), np.concatenate([each[name] for each in drawn]))
        for name, value in figures(results, results.once()).items()
    }


def interval(value: float, drawn: FloatArray) -> Interval:
    """Give a value with the middle 95 % of what was drawn."""
    known = drawn[~np.isnan(drawn)]
    bounds = np.percentile(known, _PERCENTILES) if len(known) else (math.nan, math.nan)
    return {"value": rounded(value), "ci95": [rounded(float(bound)) for bound in bounds]}


def wilson(hits: int, total: int) -> Interval:
    """Give a share with its interval after Wilson, JASA 22 (1927): good for shares near 0 and 1."""
    if not total:
        return {"value": None, "ci95": [None, None]}
    share, spread = hits / total, _Z**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    bounds = [max(0.0, middle - half), min(1.0, middle + half)]
    return {"value": rounded(share), "ci95": [rounded(bound) for bound in bounds]}


def rounded(value: float) -> float | None:
    """Give a number as it is published, or None for NaN, which JSON does not know."""
    return None if math.isnan(value) else round(value, DIGITS)
