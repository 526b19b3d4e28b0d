"""Read a film without a usable age as the more cautious of the populations would.

Each population's band is a range of logits. Below the lowest of them every population says absent,
above the highest every one says present; in between they differ, or one of them is indeterminate.
That range is the band of the unknown age, on a calibration of its own in which all populations
count the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from scripts.data.predictions import Results, joined, sigmoid
from scripts.evaluation.platt_scaling import fit_platt
from scripts.evaluation.populations.points import DIGITS, point_of

_TINY = 1e-9  # so that a limit of 0 or 1 has a logit


def cautious(entries: Sequence[Mapping[str, Any]], films: Sequence[Results]) -> dict[str, Any]:
    """Return the calibration and the operating points for films of any of the populations.

    Args:
        entries: what `points.choose` returned for each population.
        films: what each was chosen on.
    """
    together = joined(films)
    sizes = [len(each.labels) for each in films]
    counts = np.repeat([len(together.labels) / len(films) / size for size in sizes], sizes)
    fitted = fit_platt(together.labels, together.logits, counts)
    temperature, bias = (round(x, 4) for x in fitted)
    scaled = replace(together, probabilities=sigmoid(together.logits / temperature + bias))
    evidence = "; ".join(str(entry["calibration"]["chosen_on"]) for entry in entries)
    points = {}
    for name in entries[0]["operating_points"]:
        ranges = [_logits(entry, name) for entry in entries]
        low, threshold, high = (
            round(float(sigmoid(np.array(value / temperature + bias))), DIGITS)
            for value in (
                min(each[0] for each in ranges),
                max(each[1] for each in ranges),
                max(each[2] for each in ranges),
            )
        )
        points[name] = point_of(scaled, threshold, [low, high], evidence)
    return {
        "calibration": {
            "method": "platt",
            "temperature": temperature,
            "bias": bias,
            "chosen_on": evidence,
            "images": len(together.labels),
            "prevalence": round(float(counts @ together.labels / counts.sum()), 4),
        },
        "operating_points": points,
    }


def _logits(entry: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    """Return low, threshold and high of a point as the network's logits."""
    calibration, point = entry["calibration"], entry["operating_points"][name]
    low, high = point["indeterminate"]
    first, middle, last = (
        calibration["temperature"] * (_logit(value) - calibration["bias"])
        for value in (low, point["threshold"], high)
    )
    return first, middle, last


def _logit(probability: float) -> float:
    kept = min(1 - _TINY, max(_TINY, probability))
    return math.log(kept / (1 - kept))
