"""Choose temperature and operating points on the validation set: python -m scripts.calibrate CSV.

CSV is what evaluate.yaml wrote for the part "validation"; the results go into
configs/metadata.json. Nothing is ever chosen on the test sets.
"""

import argparse
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.figures import FloatArray, Results, at_point
from scripts.predictions import read_predictions
from scripts.publish import read_metadata, write_metadata

TEMPERATURES: Final = np.geomspace(0.2, 5, 2001)
LEAST_SENSITIVITY: Final = 0.97  # of "screening"
LEAST_SPECIFICITY: Final = 0.97  # of "rule_in"
BAND_SHARE: Final = 0.04  # of the validation images, half on each side of a threshold
DEFAULT_POINT: Final = "balanced"


def temperature_of(labels: FloatArray, logits: FloatArray) -> float:
    """Give the temperature under which the labels are likeliest."""
    signed = logits * (1 - 2 * labels)  # negative when right
    losses = [np.logaddexp(0, signed / temperature).mean() for temperature in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def thresholds_of(labels: FloatArray, probabilities: FloatArray) -> dict[str, float]:
    """Give each operating point's threshold, midway between two neighbouring probabilities."""
    values = np.unique(probabilities)
    cuts = (values[:-1] + values[1:]) / 2
    sensitivity = np.array([(probabilities[labels == 1] >= cut).mean() for cut in cuts])
    specificity = np.array([(probabilities[labels == 0] < cut).mean() for cut in cuts])
    return {
        "screening": float(cuts[sensitivity >= LEAST_SENSITIVITY].max()),
        "balanced": float(cuts[np.argmax(sensitivity + specificity)]),
        "rule_in": float(cuts[specificity >= LEAST_SPECIFICITY].min()),
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
    temperature = round(temperature_of(results.labels, results.logits), 4)
    scaled = Results(
        patients=results.patients,
        labels=results.labels,
        logits=results.logits,
        probabilities=1 / (1 + np.exp(-results.logits / temperature)),
    )
    return {
        "calibration": {
            "method": "temperature",
            "temperature": temperature,
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
