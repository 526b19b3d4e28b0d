"""Choose scale and operating points on the validation set.

Run it as `python -m scripts.evaluation.calibrate CSV`.

CSV is what evaluate.yaml wrote for the part "validation"; the results go into
configs/metadata.json. Nothing is ever chosen on the test sets.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.data.predictions import read_predictions
from scripts.evaluation.metrics import FloatArray, Results, at_point, sigmoid
from scripts.training.package_weights import read_metadata, write_metadata

NEWTON_STEPS: Final = 100
TINY: Final = 1e-12
LEAST_SENSITIVITY: Final = 0.98  # of "screening": 0.97 with room for a set that is not this one
LEAST_SPECIFICITY: Final = 0.995  # of "rule_in"
BAND_SHARE: Final = 0.04  # of the validation images, half on each side of a threshold
DEFAULT_POINT: Final = "balanced"


def platt_of(labels: FloatArray, logits: FloatArray) -> tuple[float, float]:
    """Give the temperature and the bias under which the labels are likeliest.

    Targets are drawn in as Platt does, so that a separable set has a finite answer. Newton's
    method, each step halved until it helps. Raises ValueError if high logits mean health.
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
        raise ValueError("the network ranks health above pneumonia: nothing to calibrate")
    return float(1 / weights[0]), float(weights[1])


def thresholds_of(labels: FloatArray, probabilities: FloatArray) -> dict[str, float]:
    """Give each operating point's threshold, midway between two neighbouring probabilities.

    "balanced" maximises sensitivity plus specificity. "screening" is the highest threshold that
    keeps its sensitivity, "rule_in" the lowest that keeps its specificity, and "balanced" where
    that does better on both counts: screening <= balanced <= rule_in.
    """
    values = np.unique(probabilities)
    cuts = (values[:-1] + values[1:]) / 2
    sensitivity = np.array([(probabilities[labels == 1] >= cut).mean() for cut in cuts])
    specificity = np.array([(probabilities[labels == 0] < cut).mean() for cut in cuts])
    balanced = float(cuts[np.argmax(sensitivity + specificity)])
    screening = float(cuts[sensitivity >= LEAST_SENSITIVITY].max())
    rule_in = float(cuts[specificity >= LEAST_SPECIFICITY].min())
    return {
        "screening": min(screening, balanced),
        "balanced": balanced,
        "rule_in": max(rule_in, balanced),
    }


def band_around(threshold: float, probabilities: FloatArray) -> list[float]:
    """Give the band that holds the few images nearest to the threshold, as many on each side.

    Next to the threshold a reading is a coin toss by construction: that is where abstaining buys
    most accuracy for each image given up.
    """
    values = np.sort(probabilities)
    at = int(np.searchsorted(values, threshold))
    half = round(len(values) * BAND_SHARE / 2)
    low = values[max(0, at - half)]
    high = values[min(len(values) - 1, at + half - 1)]
    return [_rounded(min(low, threshold)), _rounded(max(high, threshold))]


def operating_points(results: Results) -> dict[str, Any]:
    """Give the named points with what they were worth on the set they were chosen on."""
    points: dict[str, Any] = {}
    for name, threshold in thresholds_of(results.labels, results.probabilities).items():
        point = {
            "threshold": _rounded(threshold),
            "indeterminate": band_around(_rounded(threshold), results.probabilities),
        }
        worth = at_point(results, point)
        points[name] = point | {
            "chosen_on": "validation",
            **{figure: round(value, 4) for figure, value in worth.items()},
        }
    return points


def calibrate(results: Results) -> dict[str, Any]:
    """Give the metadata's calibration, operating_points and default_operating_point."""
    temperature, bias = (round(x, 4) for x in platt_of(results.labels, results.logits))
    scaled = replace(results, probabilities=sigmoid(results.logits / temperature + bias))
    return {
        "calibration": {
            "method": "platt",
            "temperature": temperature,
            "bias": bias,
            "chosen_on": "validation",
            "images": len(results.labels),
            "prevalence": round(float(results.labels.mean()), 4),
        },
        "operating_points": operating_points(scaled),
        "default_operating_point": DEFAULT_POINT,
    }


def _rounded(value: float) -> float:
    return round(float(value), 5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path)
    write_metadata(read_metadata() | calibrate(read_predictions(parser.parse_args().predictions)))
