"""Fit Platt's scaling to predictions, and apply it."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.predictions import FloatArray, Results, sigmoid

NEWTON_STEPS: Final = 100
TINY: Final = 1e-12


def fit_platt(
    labels: FloatArray, logits: FloatArray, weights: FloatArray | None = None
) -> tuple[float, float]:
    """Return the temperature and the bias under which the labels are most likely.

    Targets are smoothed as in Platt 1999, so that a separable set has a finite solution. Solved by
    Newton's method, each step halved until the loss falls.

    Args:
        labels: 1.0 or 0.0.
        logits: one for each label.
        weights: how much each counts, of the mean 1; the same if None.

    Raises:
        ValueError: higher logits do not mean pneumonia.
    """
    counted = np.ones_like(logits) if weights is None else weights
    positives, negatives = counted @ labels, counted @ (1 - labels)
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    rows = np.stack([logits, np.ones_like(logits)])

    def loss(line: FloatArray) -> float:
        values = line @ rows
        return float((counted * (np.logaddexp(0, values) - targets * values)).mean())

    line = np.array([0.1, 0.0])
    for _ in range(NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(line @ rows, -500, 500)))
        curvature = (rows * (counted * likely * (1 - likely))) @ rows.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, rows @ (counted * (likely - targets)))
        while loss(line - step) > loss(line) and np.abs(step).max() > TINY:
            step /= 2
        line = line - step
    if line[0] <= 0:
        raise ValueError("the network ranks normal images above pneumonia: nothing to calibrate")
    return float(1 / line[0]), float(line[1])


def apply_platt(results: Results, temperature: float, bias: float) -> Results:
    """Return results with scaled logits and the probabilities of those."""
    logits = results.logits / temperature + bias
    return replace(results, logits=logits, probabilities=sigmoid(logits))


def cross_fit(results: Results, fitted_on: NDArray[np.bool_] | None = None) -> Results:
    """Scale each fold by what was fitted to the predictions of the other folds.

    Each fold was predicted by another network, none of which is the shipped one. Scaled this way
    no image takes part in its own calibration, and the folds can be pooled. Where the label is not
    known an image is scaled with the others and takes part in no fit.

    Args:
        results: the folds.
        fitted_on: the images that take part in the fits; all if None.
    """
    usable = ~np.isnan(results.labels)
    usable &= np.ones_like(usable) if fitted_on is None else fitted_on
    logits = results.logits.copy()
    for part in np.unique(results.parts):
        is_here = results.parts == part
        if is_here.all():
            return results
        fitted = ~is_here & usable
        temperature, bias = fit_platt(results.labels[fitted], results.logits[fitted])
        logits[is_here] = results.logits[is_here] / temperature + bias
    return replace(results, logits=logits, probabilities=sigmoid(logits))
