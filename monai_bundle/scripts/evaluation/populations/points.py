"""Choose the calibration, the thresholds and the bands of one population.

Every population has the same three operating points, each chosen by a promise that it keeps on the
films that it was chosen on. "balanced", the default, calls few normal films present and finds as
many opacities as that allows: it is the lowest threshold that keeps the share. "screening" misses
few: the highest threshold that keeps a sensitivity. "rule_in" is right when it says present: the
lowest threshold that keeps a specificity over everything that shows no opacity, other abnormalities
included. screening <= balanced <= rule_in.

The promise holds for findings, not for sides of a threshold: the band, in which the finding is
indeterminate, lies below the threshold of "balanced" and "rule_in", whose promise is about
"present", and above that of "screening", whose promise is about what is not found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from scripts.data.categories import Category
from scripts.data.predictions import FloatArray, Results, sigmoid
from scripts.evaluation.metrics import at_point
from scripts.evaluation.platt_scaling import fit_platt
from scripts.evaluation.populations.names import Population

SCREENING, BALANCED, RULE_IN = "screening", "balanced", "rule_in"
DIGITS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operating points of a population promise, as shares from 0 to 1."""

    least_sensitivity: float  # of "screening"
    most_false_alarms: float  # of "balanced": normal films called present
    least_specificity: float  # of "rule_in"
    band: float  # of the films without an opacity, or with one, that a band leaves undecided


# The bound for adults is 5 %, with a margin. In the clinic pneumonia is far rarer than among these
# children, so that their false alarms, which the network can keep rarer, weigh more than they do in
# the sum of sensitivity and specificity. Adults are told apart less well: their bands are wider.
RULES: Final[Mapping[str, Rules]] = {
    Population.CHILDREN: Rules(
        least_sensitivity=0.98, most_false_alarms=0.01, least_specificity=0.995, band=0.04
    ),
    Population.ADULTS: Rules(
        least_sensitivity=0.90, most_false_alarms=0.04, least_specificity=0.95, band=0.08
    ),
}
# Of another abnormality: it is named beside the finding and alarms less, so that more may be named.
OTHER_RULES: Final = Rules(
    least_sensitivity=0.90, most_false_alarms=0.10, least_specificity=0.95, band=0.08
)


def choose_thresholds(results: Results, rules: Rules) -> dict[str, float]:
    """Return each operating point's threshold, midway between two neighbouring probabilities."""
    values = np.unique(np.concatenate([[0.0], results.probabilities, [1.0]]))
    cuts = (values[:-1] + values[1:]) / 2
    ill = np.sort(results.probabilities[results.labels == 1])
    well = np.sort(results.probabilities[results.labels == 0])
    normal = np.sort(results.probabilities[results.categories == Category.NORMAL])
    balanced = float(cuts[_share_from(normal, cuts) <= rules.most_false_alarms].min())
    screening = float(cuts[_share_from(ill, cuts) >= rules.least_sensitivity].max())
    rule_in = float(cuts[1 - _share_from(well, cuts) >= rules.least_specificity].min())
    return {
        SCREENING: min(screening, balanced),
        BALANCED: balanced,
        RULE_IN: max(rule_in, balanced),
    }


def _share_from(values: FloatArray, cuts: FloatArray) -> FloatArray:
    """Return the share of sorted values at or above each cut."""
    return np.asarray(1 - np.searchsorted(values, cuts) / len(values))


def choose_band(name: str, threshold: float, results: Results, share: float) -> list[float]:
    """Return the band of an operating point, on one side of its threshold.

    Below it, it has a share of the films without an opacity, above it, for "screening", of those
    with one: the films nearest to the threshold.
    """
    if name == SCREENING:
        ill = np.sort(results.probabilities[results.labels == 1])
        last = int(np.searchsorted(ill, threshold)) + round(share * len(ill)) - 1
        edge = float(ill[min(len(ill) - 1, last)])
        return [threshold, max(threshold, round(edge, DIGITS))]
    well = np.sort(results.probabilities[results.labels == 0])
    first = int(np.searchsorted(well, threshold)) - round(share * len(well))
    edge = float(well[max(0, first)])
    return [min(threshold, round(edge, DIGITS)), threshold]


def choose(results: Results, rules: Rules, *, evidence: str) -> dict[str, Any]:
    """Return the calibration and the operating points for labelled films.

    Args:
        results: what they are chosen on.
        rules: of the population.
        evidence: what the films are, in words.

    Raises:
        ValueError: one of the labels is missing, or no film is normal.
    """
    for name, mask in (
        ("positive", results.labels == 1),
        ("negative", results.labels == 0),
        ("normal", results.categories == Category.NORMAL),
    ):
        if not mask.any():
            raise ValueError(f"no {name} film to choose on: {evidence}")
    temperature, bias = (round(x, 4) for x in fit_platt(results.labels, results.logits))
    scaled = replace(results, probabilities=sigmoid(results.logits / temperature + bias))
    points = {}
    for name, exact in choose_thresholds(scaled, rules).items():
        threshold = round(exact, DIGITS)
        band = choose_band(name, threshold, scaled, rules.band)
        points[name] = point_of(scaled, threshold, band, evidence)
    return {
        "calibration": {
            "method": "platt",
            "temperature": temperature,
            "bias": bias,
            "chosen_on": evidence,
            "images": len(results.labels),
            "prevalence": round(float(results.labels.mean()), 4),
        },
        "operating_points": points,
    }


def point_of(
    results: Results, threshold: float, band: list[float], evidence: str
) -> dict[str, Any]:
    """Return an operating point with its figures on the films that it was chosen on."""
    point = {"threshold": threshold, "indeterminate": band}
    return {
        **point,
        "chosen_on": evidence,
        **{metric: round(value, 4) for metric, value in at_point(results, point).items()},
    }
