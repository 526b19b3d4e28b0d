"""Figures of merit of a set of predictions, for the set as it is or for many resamplings at once.

Everything counts each image by a weight, draws x images, so that a bootstrap of two thousand draws
is a few matrix products. The set as it is is one draw in which every image counts once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BINS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a set of radiographs came out as; the arrays run in parallel."""

    images: NDArray[np.str_]  # the head of each file's SHA-256
    patients: NDArray[np.str_]
    cohorts: NDArray[np.str_]
    kinds: NDArray[np.str_]  # normal, bacteria, virus or pneumonia
    parts: NDArray[np.str_]  # validation, test, or the fold that was held out
    labels: FloatArray  # 1.0 for pneumonia
    logits: FloatArray
    probabilities: FloatArray

    def take(self, index: NDArray[Any]) -> "Results":
        """Give the results at `index`, or where a mask is true; an index may repeat."""
        return Results(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def once(self) -> FloatArray:
        """Give the weights, 1 x images, under which every image counts once."""
        return np.ones((1, len(self.labels)))


def sigmoid(logits: FloatArray) -> FloatArray:
    """Give the probabilities of `logits`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def stairs(
    labels: FloatArray, values: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Give how many positives and negatives lie at or above each distinct value, from the top.

    Both are draws x (distinct values + 1) and begin with 0: the corners of the ROC curve.
    """
    order = np.argsort(-values, kind="stable")
    first = np.flatnonzero(np.diff(values[order], prepend=np.inf))
    counted = weights[:, order]
    of_positives = np.add.reduceat(counted * labels[order], first, axis=1).cumsum(axis=1)
    of_all = np.add.reduceat(counted, first, axis=1).cumsum(axis=1)
    positives = np.pad(of_positives, ((0, 0), (1, 0)))
    return positives, np.pad(of_all, ((0, 0), (1, 0))) - positives


def ranking(labels: FloatArray, values: FloatArray, weights: FloatArray) -> dict[str, FloatArray]:
    """Give the area under the ROC curve, ties counted half, and the average precision.

    Average precision is the sum of precision times the step in recall, without interpolation.
    NaN where a class is missing.
    """
    positives, negatives = stairs(labels, values, weights)
    up, right = np.diff(positives), np.diff(negatives)
    called = positives[:, 1:] + negatives[:, 1:]
    precision = np.divide(positives[:, 1:], called, out=np.zeros_like(called), where=called > 0)
    area = (right * (positives[:, 1:] + positives[:, :-1])).sum(axis=1) / 2
    return {
        "auc": _ratio(area, positives[:, -1] * negatives[:, -1]),
        "average_precision": _ratio((up * precision).sum(axis=1), positives[:, -1]),
    }


def auc(labels: FloatArray, values: FloatArray) -> float:
    """Give the area under the ROC curve, ties counted half; NaN if a class is missing."""
    return float(ranking(labels, values, np.ones((1, len(labels))))["auc"][0])


def bins_of(probabilities: FloatArray) -> NDArray[np.int64]:
    """Give the number, 0 to 9, of the tenth that each probability lies in."""
    return np.minimum((probabilities * BINS).astype(int), BINS - 1)


def calibration_errors(results: Results, weights: FloatArray) -> FloatArray:
    """Give the expected calibration error over ten equal bins of probability, for each draw.

    Guo et al., "On Calibration of Modern Neural Networks", 2017. It is never negative, so that
    chance alone lifts it, most where images are few: see `calibration_error_by_chance`.
    """
    in_bin = bins_of(results.probabilities)[:, None] == np.arange(BINS)
    gaps = weights @ ((results.labels - results.probabilities)[:, None] * in_bin)
    return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def calibration_error_by_chance(results: Results, *, draws: int, seed: int) -> float:
    """Give the error that these probabilities would show on average if they were exactly right."""
    generator = np.random.default_rng(seed)
    in_bin = bins_of(results.probabilities)[:, None] == np.arange(BINS)
    drawn = generator.random((draws, len(results.labels))) < results.probabilities
    gaps = (drawn - results.probabilities) @ in_bin.astype(float)
    return float((np.abs(gaps).sum(axis=1) / len(results.labels)).mean())


def overall_of(results: Results, weights: FloatArray) -> dict[str, FloatArray]:
    """Give, for each draw, what does not depend on an operating point.

    The order of the images is that of their logits, which keep digits where probabilities are
    rounded to 1.
    """
    squares = (results.probabilities - results.labels) ** 2
    return {
        **ranking(results.labels, results.logits, weights),
        "brier": _ratio(weights @ squares, weights.sum(axis=1)),
        "calibration_error": calibration_errors(results, weights),
    }


def counts_at(results: Results, point: Mapping[str, Any]) -> dict[str, NDArray[np.bool_]]:
    """Give which images are true and false positives and negatives, and which are decided."""
    low, high = point["indeterminate"]
    is_called = results.probabilities >= point["threshold"]
    is_ill = results.labels == 1
    return {
        "true_positives": is_called & is_ill,
        "false_positives": is_called & ~is_ill,
        "true_negatives": ~is_called & ~is_ill,
        "false_negatives": ~is_called & is_ill,
        "decided": ~((results.probabilities > low) & (results.probabilities < high)),
    }


def at_point_of(
    results: Results, weights: FloatArray, point: Mapping[str, Any]
) -> dict[str, FloatArray]:
    """Give, for each draw, what the finding is worth at an operating point.

    All but the last two are those of the threshold over all images; `abstained` is the share in
    the band, `decided_accuracy` the accuracy outside it.
    """
    found = counts_at(results, point)
    is_right = found["true_positives"] | found["true_negatives"]
    decided_right = weights @ (is_right & found["decided"]).astype(float)
    counted = {name: weights @ mask.astype(float) for name, mask in found.items()}
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
    """Give what does not depend on an operating point, for the set as it is."""
    return _only(overall_of(results, results.once()))


def at_point(results: Results, point: Mapping[str, Any]) -> dict[str, float]:
    """Give what the finding is worth at an operating point, for the set as it is."""
    return _only(at_point_of(results, results.once(), point))


def _only(figures: dict[str, FloatArray]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in figures.items()}


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
