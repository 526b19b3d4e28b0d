"""Figures of merit with 95 % intervals, bootstrapped by patient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_INTERVAL: Final = (2.5, 97.5)
_BINS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a set of radiographs came out as; the arrays run in parallel."""

    images: NDArray[np.str_]  # the head of each file's SHA-256
    patients: NDArray[np.str_]
    cohorts: NDArray[np.str_]
    kinds: NDArray[np.str_]  # normal, bacteria, virus or pneumonia
    labels: FloatArray  # 1.0 for pneumonia
    logits: FloatArray
    probabilities: FloatArray

    def take(self, index: NDArray[Any]) -> "Results":
        """Give the results at `index`, or where a mask is true; an index may repeat."""
        return Results(**{each.name: getattr(self, each.name)[index] for each in fields(self)})


def auc(labels: FloatArray, values: FloatArray) -> float:
    """Give the area under the ROC curve, ties counted half; NaN if a class is missing."""
    positives, negatives = values[labels == 1], np.sort(values[labels == 0])
    if not len(positives) or not len(negatives):
        return float("nan")
    below = np.searchsorted(negatives, positives, side="left")
    upto = np.searchsorted(negatives, positives, side="right")
    return float((below + upto).mean() / (2 * len(negatives)))


def calibration_error(results: Results) -> float:
    """Give the expected calibration error over ten equal bins of probability."""
    bins = np.minimum((results.probabilities * _BINS).astype(int), _BINS - 1)
    gaps = [
        abs(results.labels[bins == b].mean() - results.probabilities[bins == b].mean())
        * (bins == b).mean()
        for b in np.unique(bins)
    ]
    return float(sum(gaps))


def at_point(results: Results, point: Mapping[str, Any]) -> dict[str, float]:
    """Give what the finding is worth at an operating point.

    Sensitivity, specificity and accuracy are those of the threshold over all images;
    `abstained` is the share in the band, `decided_accuracy` the accuracy outside it.
    """
    low, high = point["indeterminate"]
    called = results.probabilities >= point["threshold"]
    is_right = called == (results.labels == 1)
    is_decided = ~((results.probabilities > low) & (results.probabilities < high))
    return {
        "sensitivity": _mean(is_right[results.labels == 1]),
        "specificity": _mean(is_right[results.labels == 0]),
        "accuracy": _mean(is_right),
        "abstained": _mean(~is_decided),
        "decided_accuracy": _mean(is_right[is_decided]),
    }


def overall(results: Results) -> dict[str, float]:
    """Give what does not depend on an operating point."""
    return {
        "auc": auc(results.labels, results.probabilities),
        "brier": float(((results.probabilities - results.labels) ** 2).mean()),
        "calibration_error": calibration_error(results),
    }


def with_intervals(
    results: Results, figures: Callable[[Results], dict[str, float]], *, draws: int, seed: int
) -> dict[str, dict[str, float | list[float]]]:
    """Give each figure with its 95 % interval over `draws` resamplings of whole patients."""
    generator = np.random.default_rng(seed)
    _, owner = np.unique(results.patients, return_inverse=True)
    images = [np.flatnonzero(owner == patient) for patient in range(owner.max() + 1)]
    drawn = []
    for _ in range(draws):
        chosen = generator.integers(len(images), size=len(images))
        drawn.append(figures(results.take(np.concatenate([images[c] for c in chosen]))))
    return {
        name: {
            "value": round(value, 4),
            "ci95": [
                round(float(bound), 4)
                for bound in np.nanpercentile([draw[name] for draw in drawn], _INTERVAL)
            ],
        }
        for name, value in figures(results).items()
    }


def _mean(values: NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")
