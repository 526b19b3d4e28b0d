"""Fit Platt's scaling to predictions, and apply it."""

from dataclasses import replace
from typing import Final

import numpy as np

from scripts.data.predictions import FloatArray, Results, sigmoid

NEWTON_STEPS: Final = 100
TINY: Final = 1e-12


def fit_platt(labels: FloatArray, logits: FloatArray) -> tuple[float, float]:
    """Return the temperature and the bias under which the labels are most likely.

    Targets are smoothed as in Platt 1999, so that a separable set has a finite solution. Solved by
    Newton's method, each step halved until the loss falls.

    Raises:
        ValueError: higher logits do not mean pneumonia.
    """
    positives, negatives = labels.sum(), (1 - labels).sum()
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    rows = np.stack([logits, np.ones_like(logits)])

    def loss(weights: FloatArray) -> float:
        values = weights @ rows
        return float((np.logaddexp(0, values) - targets * values).mean())

    weights = np.array([0.1, 0.0])
    for _ in range(NEWTON_STEPS):
        likely = 1 / (1 + np.exp(-np.clip(weights @ rows, -500, 500)))
        curvature = (rows * (likely * (1 - likely))) @ rows.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, rows @ (likely - targets))
        while loss(weights - step) > loss(weights) and np.abs(step).max() > TINY:
            step /= 2
        weights = weights - step
    if weights[0] <= 0:
        raise ValueError("the network ranks normal images above pneumonia: nothing to calibrate")
    return float(1 / weights[0]), float(weights[1])


def apply_platt(results: Results, temperature: float, bias: float) -> Results:
    """Return results with scaled logits and the probabilities of those."""
    logits = results.logits / temperature + bias
    return replace(results, logits=logits, probabilities=sigmoid(logits))


def cross_fit(results: Results) -> Results:
    """Scale each fold by what was fitted to the predictions of the other folds.

    Each fold was predicted by another network, none of which is the shipped one. Scaled this way
    no image takes part in its own calibration, and the folds can be pooled.
    """
    logits = results.logits.copy()
    for part in np.unique(results.parts):
        is_here = results.parts == part
        if is_here.all():
            return results
        temperature, bias = fit_platt(results.labels[~is_here], results.logits[~is_here])
        logits[is_here] = results.logits[is_here] / temperature + bias
    return replace(results, logits=logits, probabilities=sigmoid(logits))
