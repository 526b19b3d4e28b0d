"""Compute the figures of each set: overall, at each operating point, by fold and by subgroup."""

from functools import partial
from typing import Any, Final

import numpy as np

from scripts.data.joined_sets import FIRST_ADULTS
from scripts.data.predictions import FloatArray, Results
from scripts.evaluation.comparison import delong, metric_difference, paired
from scripts.evaluation.confidence_intervals import rounded, with_intervals
from scripts.evaluation.inputs import OUT_OF_FOLD, OUT_OF_SOURCE, Inputs
from scripts.evaluation.metrics import (
    at_point,
    at_point_by_draw,
    calibration_error_by_chance,
    outcomes_at,
    overall,
    overall_by_draw,
)
from scripts.evaluation.populations.names import Population

# Each set: the table, the population within it, and how the page names it.
SETS: Final[dict[str, tuple[str, Population, str]]] = {
    "cross_validation_pediatric": (
        OUT_OF_FOLD,
        Population.CHILDREN,
        "cross-validation, children",
    ),
    "cross_validation_adult": (OUT_OF_FOLD, Population.ADULTS, "cross-validation, adults"),
    "out_of_source_adult": (OUT_OF_SOURCE, Population.ADULTS, "source left out, adults"),
    "validation_pediatric": ("validation", Population.CHILDREN, "validation, children (chosen on)"),
    "validation_adult": ("validation", Population.ADULTS, "validation, adults (chosen on)"),
    "test": ("test", Population.CHILDREN, "official test set, children"),
    "rsna_test": ("rsna_test", Population.ADULTS, "test split of RSNA, adults"),
}
CROSS_VALIDATED: Final = ("cross_validation_pediatric", "cross_validation_adult")
CHANCE_DRAWS: Final = 500

# The first model's thresholds, from configs/metadata.json of version 0.1.0.
FIRST_MODEL: Final[dict[str, Any]] = {
    "version": "0.1.0",
    "operating_points": {
        "screening": {"threshold": 0.42336, "indeterminate": [0.19474, 0.66812]},
        "balanced": {"threshold": 0.69802, "indeterminate": [0.43903, 0.89501]},
        "rule_in": {"threshold": 0.96516, "indeterminate": [0.94682, 0.9782]},
    },
}


def label(name: str, results: Results) -> str:
    """Return how the page names a set: it says so where the figure is a shortcut."""
    return SETS[name][2] + (" (shortcut)" if (results.sources == FIRST_ADULTS).all() else "")


def sets(inputs: Inputs) -> dict[str, Any]:
    """Compute the figures of every set; None for one without a table."""
    return {
        name: of_set(inputs, name, results) if (results := of_name(inputs, name)) else None
        for name in SETS
    }


def of_name(inputs: Inputs, name: str) -> Results | None:
    """Return the labelled films of a set that have both labels between them."""
    table, population, _ = SETS[name]
    results = inputs.predictions(table, population=population)
    return results if results and 0 < results.labels.sum() < len(results.labels) else None


def of_set(inputs: Inputs, name: str, results: Results) -> dict[str, Any]:
    """Compute one set's counts and figures with their intervals."""
    points = {}
    for point_name, point in inputs.points(SETS[name][1]).items():
        metrics = partial(at_point_by_draw, point=point)
        counts = outcomes_at(results, point)
        points[point_name] = {
            "threshold": point["threshold"],
            "indeterminate": point["indeterminate"],
            "counts": {key: int(mask.sum()) for key, mask in counts.items()},
            **with_intervals(results, metrics, draws=inputs.draws, seed=inputs.seed),
        }
    by_chance = calibration_error_by_chance(results, draws=CHANCE_DRAWS, seed=inputs.seed)
    return {
        "label": label(name, results),
        "images": len(results.labels),
        "pneumonia": int(results.labels.sum()),
        "patients": len(np.unique(results.patients)),
        "overall": with_intervals(results, overall_by_draw, draws=inputs.draws, seed=inputs.seed),
        "calibration_error_by_chance": rounded(by_chance),
        "operating_points": points,
    }


def folds(inputs: Inputs) -> dict[str, Any]:
    """Compute, for each population, the figures of each held-out fold, their mean and spread.

    The spread is the sample standard deviation. Figures at a point are at the default one.
    """
    found: dict[str, Any] = {}
    for name in CROSS_VALIDATED:
        point = inputs.default(SETS[name][1])
        if not (results := of_name(inputs, name)):
            found[name] = None
            continue
        each = [results.take(results.parts == part) for part in np.unique(results.parts)]
        figures = [overall(fold) | at_point(fold, point) for fold in each]
        found[name] = {
            key: {
                "mean": rounded(float(np.mean([fold[key] for fold in figures]))),
                "spread": rounded(float(np.std([fold[key] for fold in figures], ddof=1)))
                if len(figures) > 1
                else None,
                "folds": [rounded(fold[key]) for fold in figures],
            }
            for key in figures[0]
        }
    return found


def subgroups(inputs: Inputs) -> dict[str, Any]:
    """Compute the figures of bacterial and of viral pneumonia separately, for children.

    Each kind is compared with all normal radiographs, so that the specificity is the same in both.
    A table that does not tell them apart has neither.
    """
    metrics = partial(_subgroup, point=inputs.default(Population.CHILDREN))
    found: dict[str, Any] = {}
    for name in ("cross_validation_pediatric", "test"):
        table, population, _ = SETS[name]
        found[name] = {}
        for kind in ("bacteria", "virus"):
            results = inputs.predictions(table, population=population, kinds=("normal", kind))
            if not results or not results.labels.any():
                continue
            found[name][kind] = {
                "images": len(results.labels),
                "pneumonia": int(results.labels.sum()),
                **with_intervals(results, metrics, draws=inputs.draws, seed=inputs.seed),
            }
    return found


def _subgroup(results: Results, weights: FloatArray, point: dict[str, Any]) -> dict[str, Any]:
    at = at_point_by_draw(results, weights, point)
    return {"auc": overall_by_draw(results, weights)["auc"], "sensitivity": at["sensitivity"]}


def against_first_model(inputs: Inputs) -> dict[str, Any] | None:
    """Compare with model 0.1.0 on the official test set, image by image.

    AUC by DeLong's test and by paired bootstrap, accuracy by paired bootstrap, each model at its
    own thresholds, all of them chosen on validation.
    """
    own, first = inputs.predictions("test"), inputs.predictions("first_model")
    if not own or not first:
        return None
    own, first = paired(own, first)
    points = inputs.points(Population.CHILDREN)
    drawn = {"draws": inputs.draws, "seed": inputs.seed}
    return {
        "version": FIRST_MODEL["version"],
        "images": len(own.labels),
        "auc": {
            "model": rounded(overall(own)["auc"]),
            "first_model": rounded(overall(first)["auc"]),
            "delong": delong(own.labels, own.logits, first.logits),
            "difference": metric_difference((own, area), (first, area), **drawn),
        },
        "accuracy": {
            name: _accuracies((own, points[name]), (first, other), **drawn)
            for name, other in FIRST_MODEL["operating_points"].items()
            if name in points
        },
    }


def _accuracies(
    model: tuple[Results, dict[str, Any]], first: tuple[Results, dict[str, Any]], **drawn: int
) -> dict[str, Any]:
    (own, point), (other, other_point) = model, first
    change = metric_difference(
        (own, partial(_accuracy, point=point)),
        (other, partial(_accuracy, point=other_point)),
        **drawn,
    )
    return {
        "model": rounded(at_point(own, point)["accuracy"]),
        "first_model": rounded(at_point(other, other_point)["accuracy"]),
        "difference": change,
    }


def _accuracy(results: Results, weights: FloatArray, point: dict[str, Any]) -> FloatArray:
    return at_point_by_draw(results, weights, point)["accuracy"]


def area(results: Results, weights: FloatArray) -> FloatArray:
    """Compute the area under the ROC curve for each draw."""
    return overall_by_draw(results, weights)["auc"]
