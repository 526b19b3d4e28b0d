"""Compute the effect of training on both age groups, the gain of abstaining, and the errors."""

from typing import Any, Final

import numpy as np

from scripts.data.predictions import FloatArray, Results
from scripts.evaluation.comparison import metric_difference, paired
from scripts.evaluation.confidence_intervals import rounded, with_intervals
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.metrics import outcomes_at
from scripts.evaluation.report.sets import SETS, area

SHARES: Final = tuple(round(0.05 * step, 2) for step in range(11))  # abstained, 0 to 0.5
CURVES: Final = ("cross_validation_pediatric", "cross_validation_adult", "test")
WORST: Final = 8  # of each kind of error


def adults(inputs: Inputs) -> dict[str, Any] | None:
    """Compare, on the adults out of fold, training on adults alone, after children, and jointly."""
    return _compared(
        inputs,
        inputs.predictions("cross_validation", cohort="adult"),
        {name: inputs.predictions(name) for name in ("adult_alone", "adult_from_pediatric")},
    )


def children(inputs: Inputs) -> dict[str, Any] | None:
    """Compare, on the children of validation, training on children alone and jointly."""
    return _compared(
        inputs,
        inputs.predictions("validation", cohort="pediatric"),
        {"pediatric_alone": inputs.predictions("pediatric_alone", cohort="pediatric")},
    )


def _compared(
    inputs: Inputs, joint: Results | None, alone: dict[str, Results | None]
) -> dict[str, Any] | None:
    if not joint:
        return None
    drawn = {"draws": inputs.draws, "seed": inputs.seed}
    found: dict[str, Any] = {
        "joint": {"images": len(joint.labels), "auc": _area(inputs, joint)},
    }
    for name, other in alone.items():
        found[name] = None
        if other:
            own, others = paired(joint, other)
            found[name] = {
                "images": len(others.labels),
                "auc": _area(inputs, others),
                "joint_minus_this": metric_difference((own, area), (others, area), **drawn),
            }
    return found


def _area(inputs: Inputs, results: Results) -> dict[str, Any]:
    return with_intervals(
        results, lambda r, w: {"auc": area(r, w)}, draws=inputs.draws, seed=inputs.seed
    )["auc"]


def coverage(inputs: Inputs) -> dict[str, Any]:
    """Compute the accuracy of the rest when the radiographs nearest to the threshold are left out.

    At the default operating point; distance is that of the scaled logits.
    """
    point = inputs.points[inputs.default_point]
    found: dict[str, Any] = {}
    for name in CURVES:
        results = inputs.predictions(SETS[name][0], cohort=SETS[name][1])
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
    counts = outcomes_at(results, inputs.points[inputs.default_point])
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
