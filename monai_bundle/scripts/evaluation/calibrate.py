"""Choose calibration and operating points of one population on the validation part.

Run `python -m scripts.evaluation.calibrate CSV` from the bundle's folder, where CSV is what
evaluate.yaml wrote for the part "validation" of a hospital's own radiographs. The results are
written into configs/metadata.json, in place of those of populations, which
`scripts.evaluation.populations` chooses for the shipped weights. Nothing is chosen on a test set.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.bundle.files import read_metadata, write_metadata
from scripts.data.predictions import FloatArray, Results, read_predictions, sigmoid
from scripts.evaluation.metrics import at_point
from scripts.evaluation.platt_scaling import fit_platt

LEAST_SENSITIVITY: Final = 0.98  # of "screening": 0.97, with a margin for other sets
LEAST_SPECIFICITY: Final = 0.995  # of "rule_in"
BAND_SHARE: Final = 0.04  # of the validation images, half on each side of a threshold
DEFAULT_POINT: Final = "balanced"
OF_POPULATIONS: Final = frozenset({"populations", "other_abnormality"})


def choose_thresholds(labels: FloatArray, probabilities: FloatArray) -> dict[str, float]:
    """Return each operating point's threshold, midway between two neighbouring probabilities.

    "balanced" maximises sensitivity plus specificity. "screening" is the highest threshold that
    keeps its sensitivity, "rule_in" the lowest that keeps its specificity; "balanced" replaces
    either where it does better on both counts: screening <= balanced <= rule_in.
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


def choose_band(threshold: float, probabilities: FloatArray) -> list[float]:
    """Return the band of the few images nearest to the threshold, as many on each side.

    Next to the threshold findings are least reliable, so that abstaining there gains the most
    accuracy per image.
    """
    values = np.sort(probabilities)
    at = int(np.searchsorted(values, threshold))
    half = round(len(values) * BAND_SHARE / 2)
    low = values[max(0, at - half)]
    high = values[min(len(values) - 1, at + half - 1)]
    return [_rounded(min(low, threshold)), _rounded(max(high, threshold))]


def choose_operating_points(results: Results) -> dict[str, Any]:
    """Return the named points with their metrics on the set that they were chosen on."""
    points: dict[str, Any] = {}
    for name, threshold in choose_thresholds(results.labels, results.probabilities).items():
        point = {
            "threshold": _rounded(threshold),
            "indeterminate": choose_band(_rounded(threshold), results.probabilities),
        }
        metrics = at_point(results, point)
        points[name] = point | {
            "chosen_on": "validation",
            **{metric: round(value, 4) for metric, value in metrics.items()},
        }
    return points


def calibrate(results: Results) -> dict[str, Any]:
    """Return the metadata's calibration, operating_points and default_operating_point."""
    temperature, bias = (round(x, 4) for x in fit_platt(results.labels, results.logits))
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
        "operating_points": choose_operating_points(scaled),
        "default_operating_point": DEFAULT_POINT,
    }


def _rounded(value: float) -> float:
    return round(float(value), 5)


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate on the table named on the command line and update the metadata."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("predictions", type=Path)
    predictions = parser.parse_args(arguments).predictions
    kept = {name: value for name, value in read_metadata().items() if name not in OF_POPULATIONS}
    write_metadata(kept | calibrate(read_predictions(predictions)))


if __name__ == "__main__":
    main()
