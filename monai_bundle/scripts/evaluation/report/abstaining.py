"""Compute the gain of abstaining, and the most confident errors."""

from typing import Any, Final

import numpy as np

from scripts.data.predictions import FloatArray, Results
from scripts.evaluation.confidence_intervals import rounded
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.metrics import outcomes_at
from scripts.evaluation.populations.names import Population
from scripts.evaluation.report.sets import SETS, of_name

SHARES: Final = tuple(round(0.05 * step, 2) for step in range(11))  # abstained, 0 to 0.5
CURVES: Final = ("cross_validation_pediatric", "cross_validation_adult", "test", "rsna_test")
WORST: Final = 8  # of each kind of error


def coverage(inputs: Inputs) -> dict[str, Any]:
    """Compute the accuracy of the rest when the radiographs nearest to the threshold are left out.

    At the default operating point; distance is that of the scaled logits.
    """
    found: dict[str, Any] = {}
    for name in CURVES:
        point = inputs.default(SETS[name][1])
        results = of_name(inputs, name)
        found[name] = None
        if results:
            curve = coverage_curve(results, point["threshold"])
            places = [round(share * len(results.labels)) for share in SHARES]
            found[name] = [
                {"abstained": share, "accuracy": rounded(float(curve[place]))}
                for share, place in zip(SHARES, places, strict=True)
            ]
    return found


def coverage_curve(results: Results, threshold: float) -> FloatArray:
    """Return the accuracy without the k images nearest to the threshold, for each k."""
    is_right = (results.probabilities >= threshold) == (results.labels == 1)
    distance = np.abs(results.logits - np.log(threshold / (1 - threshold)))
    farthest_first = is_right[np.argsort(-distance, kind="stable")]
    accuracy = np.cumsum(farthest_first) / np.arange(1, len(farthest_first) + 1)
    return accuracy[::-1]


def worst_errors(inputs: Inputs) -> dict[str, Any] | None:
    """Return the most confident errors on the test set at the default operating point."""
    results = inputs.predictions("test")
    if not results:
        return None
    counts = outcomes_at(results, inputs.default(Population.CHILDREN))
    found: dict[str, Any] = {}
    for name, sign in (("false_negatives", 1), ("false_positives", -1)):
        wrong = results.take(counts[name])
        order = np.lexsort((wrong.images, sign * wrong.logits))[:WORST]
        found[name] = [
            {
                "image": str(wrong.images[place]),
                "kind": str(wrong.kinds[place]),
                "probability": rounded(float(wrong.probabilities[place])),
            }
            for place in order
        ]
    return found
