"""Compare two models on the same images, by DeLong's test and by a paired bootstrap."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.data.predictions import FloatArray, Results
from scripts.evaluation.confidence_intervals import DRAWS, SEED, interval, resamplings, rounded

Metric = Callable[[Results, FloatArray], FloatArray]


def paired(one: Results, other: Results) -> tuple[Results, Results]:
    """Return both models' results on the images they share, in the same order.

    The official test set has byte-identical copies: the first copy is paired with the first.
    """
    places = dict(zip(_keys(other), range(len(other.images)), strict=True))
    shared = [(place, places[key]) for place, key in enumerate(_keys(one)) if key in places]
    index = np.array(shared, dtype=int).reshape(-1, 2)
    return one.take(index[:, 0]), other.take(index[:, 1])


def _keys(results: Results) -> list[tuple[str, int]]:
    """Return each image with the number of its copy."""
    seen: dict[str, int] = {}
    keys = []
    for image in results.images:
        seen[str(image)] = seen.get(str(image), 0) + 1
        keys.append((str(image), seen[str(image)]))
    return keys


def delong(labels: FloatArray, one: FloatArray, other: FloatArray) -> dict[str, float | None]:
    """Test whether two models' AUCs on the same images differ.

    DeLong et al., Biometrics 44 (1988), by the fast algorithm of Sun and Xu, "Fast Implementation
    of DeLong's Algorithm for Comparing the Areas Under Correlated Receiver Operating
    Characteristic Curves", IEEE Signal Processing Letters 21 (2014). The test assumes independent
    images, which two images of one patient are not.

    Args:
        labels: 1.0 for pneumonia, one per image.
        one: the scores of one model.
        other: the scores of the other model.

    Returns:
        `difference` of the AUCs, one minus other, its `standard_error`, `z` and the two-sided `p`.
    """
    positive, negative = labels == 1, labels == 0
    of_positives, of_negatives, areas = [], [], []
    for values in (one, other):
        ranks = _midranks(values)
        own = _midranks(values[positive])
        of_positives.append((ranks[positive] - own) / negative.sum())
        own = _midranks(values[negative])
        of_negatives.append(1 - (ranks[negative] - own) / positive.sum())
        areas.append(of_positives[-1].mean())
    covariance = np.cov(of_positives) / positive.sum() + np.cov(of_negatives) / negative.sum()
    error = math.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    difference = float(areas[0] - areas[1])
    z = difference / error if error else 0.0
    return {
        "difference": rounded(difference),
        "standard_error": rounded(error),
        "z": rounded(z),
        "p": float(f"{math.erfc(abs(z) / math.sqrt(2)):.3g}"),
    }


def _midranks(values: FloatArray) -> FloatArray:
    """Return the rank of each value from 1; equal values have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: NDArray[Any] = np.cumsum(counts) - (counts - 1) / 2
    return middle[inverse]


def metric_difference(
    one: tuple[Results, Metric],
    other: tuple[Results, Metric],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[str, Any]:
    """Compute a metric of one model minus that of another, on the same patients.

    Args:
        one: results, and the metric to compute for each draw.
        other: the other's, `paired` with them; it may be measured at a threshold of its own.
        draws: resamplings of whole patients, the same for both models.
        seed: of the resamplings.

    Returns:
        `value`, `ci95`, and `p`: twice the smaller share of draws that lie on one side of zero, at
        least 2 / draws (Davison and Hinkley, Bootstrap Methods and their Application, 1997).
    """

    def minus(weights: FloatArray) -> FloatArray:
        return one[1](one[0], weights) - other[1](other[0], weights)

    drawn = np.concatenate([minus(w) for w in resamplings(one[0].patients, draws=draws, seed=seed)])
    known = drawn[~np.isnan(drawn)]
    side = min((known <= 0).mean(), (known >= 0).mean()) if len(known) else math.nan
    p = rounded(min(1.0, max(2 * float(side), 2 / draws)))
    return {**interval(float(minus(one[0].unit_weights())[0]), drawn), "p": p}
