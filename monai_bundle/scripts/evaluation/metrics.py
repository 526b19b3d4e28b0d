"""Metrics of a set of predictions, for the set itself or for many resamplings at once.

Every function counts each image by a weight, draws x images, so that a bootstrap of two thousand
draws is a few matrix products. The set itself is one draw in which every image has weight one.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.predictions import FloatArray, Results

BINS: Final = 10


def roc_steps(
    labels: FloatArray, values: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Count the positives and the negatives at or above each distinct value, from the highest.

    Args:
        labels: 1.0 for positive, one per image.
        values: the scores, one per image.
        weights: draws x images.

    Returns:
        Two arrays, draws x (distinct values + 1), that begin with 0: the corners of the ROC curve.
    """
    order = np.argsort(-values, kind="stable")
    first = np.flatnonzero(np.diff(values[order], prepend=np.inf))
    counted = weights[:, order]
    of_positives = np.add.reduceat(counted * labels[order], first, axis=1).cumsum(axis=1)
    of_all = np.add.reduceat(counted, first, axis=1).cumsum(axis=1)
    positives = np.pad(of_positives, ((0, 0), (1, 0)))
    return positives, np.pad(of_all, ((0, 0), (1, 0))) - positives


def ranking(labels: FloatArray, values: FloatArray, weights: FloatArray) -> dict[str, FloatArray]:
    """Compute the area under the ROC curve, ties counted half, and the average precision.

    Average precision is the sum of precision times the step in recall, without interpolation. Both
    are NaN where a class is missing.
    """
    positives, negatives = roc_steps(labels, values, weights)
    up, right = np.diff(positives), np.diff(negatives)
    called = positives[:, 1:] + negatives[:, 1:]
    precision = np.divide(positives[:, 1:], called, out=np.zeros_like(called), where=called > 0)
    area = (right * (positives[:, 1:] + positives[:, :-1])).sum(axis=1) / 2
    return {
        "auc": _ratio(area, positives[:, -1] * negatives[:, -1]),
        "average_precision": _ratio((up * precision).sum(axis=1), positives[:, -1]),
    }


def auc(labels: FloatArray, values: FloatArray) -> float:
    """Return the area under the ROC curve, ties counted half; NaN if a class is missing."""
    return float(ranking(labels, values, np.ones((1, len(labels))))["auc"][0])


def bin_of(probabilities: FloatArray) -> NDArray[np.int64]:
    """Return the bin, 0 to 9, of each probability."""
    bins: NDArray[np.int64] = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    return bins


def calibration_errors(results: Results, weights: FloatArray) -> FloatArray:
    """Compute the expected calibration error over ten equal bins, for each draw.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. It is never negative, so that
    chance alone raises it, most where images are few: see `calibration_error_by_chance`.
    """
    in_bin = bin_of(results.probabilities)[:, None] == np.arange(BINS)
    gaps = weights @ ((results.labels - results.probabilities)[:, None] * in_bin)
    return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def calibration_error_by_chance(results: Results, *, draws: int, seed: int) -> float:
    """Return the mean calibration error of labels drawn from exactly these probabilities."""
    generator = np.random.default_rng(seed)
    in_bin = bin_of(results.probabilities)[:, None] == np.arange(BINS)
    drawn = generator.random((draws, len(results.labels))) < results.probabilities
    gaps = (drawn - results.probabilities) @ in_bin.astype(float)
    return float((np.abs(gaps).sum(axis=1) / len(results.labels)).mean())


def overall_by_draw(results: Results, weights: FloatArray) -> dict[str, FloatArray]:
    """Compute the metrics that do not depend on an operating point, for each draw.

    Images are ranked by their logits, because probabilities are rounded to 1.
    """
    squares = (results.probabilities - results.labels) ** 2
    return {
        **ranking(results.labels, results.logits, weights),
        "brier": _ratio(weights @ squares, weights.sum(axis=1)),
        "calibration_error": calibration_errors(results, weights),
    }


def outcomes_at(results: Results, point: Mapping[str, Any]) -> dict[str, NDArray[np.bool_]]:
    """Return masks of the true and false positives and negatives, and of the decided images."""
    low, high = point["indeterminate"]
    is_positive = results.probabilities >= point["threshold"]
    has_pneumonia = results.labels == 1
    return {
        "true_positives": is_positive & has_pneumonia,
        "false_positives": is_positive & ~has_pneumonia,
        "true_negatives": ~is_positive & ~has_pneumonia,
        "false_negatives": ~is_positive & has_pneumonia,
        "decided": ~((results.probabilities > low) & (results.probabilities < high)),
    }


def at_point_by_draw(
    results: Results, weights: FloatArray, point: Mapping[str, Any]
) -> dict[str, FloatArray]:
    """Compute the metrics of the finding at an operating point, for each draw.

    All but the last two are those of the threshold over all images; `abstained` is the share in
    the band, `decided_accuracy` the accuracy outside it.
    """
    masks = outcomes_at(results, point)
    is_right = masks["true_positives"] | masks["true_negatives"]
    decided_right = weights @ (is_right & masks["decided"]).astype(float)
    counted = {name: weights @ mask.astype(float) for name, mask in masks.items()}
    tp, fp = counted["true_positives"], counted["false_positives"]
    tn, fn = counted["true_negatives"], counted["false_negatives"]
    total = tp + fp + tn + fn
    return {
        "accuracy": _ratio(tp + tn, total),
        "precision": _ratio(tp, tp + fp),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "abstained": _ratio(total - counted["decided"], total),
        "decided_accuracy": _ratio(decided_right, counted["decided"]),
    }


def overall(results: Results) -> dict[str, float]:
    """Compute the metrics that do not depend on an operating point, for the set itself."""
    return _single_draw(overall_by_draw(results, results.unit_weights()))


def at_point(results: Results, point: Mapping[str, Any]) -> dict[str, float]:
    """Compute the metrics of the finding at an operating point, for the set itself."""
    return _single_draw(at_point_by_draw(results, results.unit_weights(), point))


def _single_draw(metrics: dict[str, FloatArray]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in metrics.items()}


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return ratio
