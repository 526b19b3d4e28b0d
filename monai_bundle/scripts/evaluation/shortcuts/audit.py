"""Compute the audit's figures: what each description tells apart, and what the model does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.predictions import FloatArray
from scripts.evaluation.confidence_intervals import Interval, interval, resamplings, wilson
from scripts.evaluation.metrics import ranking
from scripts.evaluation.shortcuts.films import TASKS, Films
from scripts.evaluation.shortcuts.page import NAMES, OPACITY
from scripts.evaluation.shortcuts.probe import ridge_scores, within
from scripts.evaluation.shortcuts.thorax import InsideThorax

DRAWS: Final = 500
SEED: Final = 20240611
LEAST: Final = 10  # films of each class; a set with fewer is not measured
POOLS: Final[Mapping[str, Callable[[NDArray[np.str_]], NDArray[np.bool_]]]] = {
    "all adults, pooled": lambda sets: sets != "pediatric",
    "all sets, pooled": lambda sets: np.ones(len(sets), dtype=bool),
}
SUBGROUPS: Final = ("AP", "PA", "F", "M")
Features = Mapping[str, FloatArray]  # by the name of the description, one row a film


def area(labels: FloatArray, scores: FloatArray, patients: NDArray[np.str_]) -> Interval:
    """Return an AUC with its interval over patients; films without a score do not count."""
    known = ~np.isnan(scores) & ~np.isnan(labels)
    labels, scores, patients = labels[known], scores[known], patients[known]
    if len(labels) == 0:
        return {"value": None, "ci95": [None, None]}
    value = ranking(labels, scores, np.ones((1, len(labels))))["auc"]
    drawn = [
        ranking(labels, scores, weights)["auc"]
        for weights in resamplings(patients, draws=DRAWS, seed=SEED)
    ]
    return interval(float(value[0]), np.concatenate(drawn))


def tasks(films: Films, features: Features) -> dict[str, Any]:
    """Return for each task and set what is told apart within the set, and across sources."""
    found: dict[str, Any] = {}
    for task in TASKS:
        labels = films.labels(task)
        found[task] = {}
        for name in (*NAMES, *POOLS):
            of_set = POOLS[name](films.sets) if name in POOLS else films.sets == name
            here = of_set & ~np.isnan(labels)
            if min((labels[here] == 1).sum(), (labels[here] == 0).sum()) < LEAST:
                continue
            elsewhere = ~of_set & ~np.isnan(labels)
            elsewhere &= ~np.isin(films.patients, films.patients[here])
            found[task][name] = _of_set(films, features, labels, here, elsewhere)
    return found


def _of_set(
    films: Films,
    features: Features,
    labels: FloatArray,
    here: NDArray[np.bool_],
    elsewhere: NDArray[np.bool_],
) -> dict[str, Any]:
    own, patients = labels[here], films.patients[here]
    inside = {
        name: area(own, within(each[here], own, patients), patients)
        for name, each in features.items()
    }
    across = {
        name: area(own, ridge_scores(each[elsewhere], labels[elsewhere], each[here]), patients)
        for name, each in features.items()
        if 0 < labels[elsewhere].sum() < elsewhere.sum()
    }
    return {
        "images": int(here.sum()),
        "positive": int(own.sum()),
        "patients": len(np.unique(patients)),
        "within": inside,
        "across": across,
        "model": area(own, films.scores[here], patients),
    }


def findings(films: Films, seen: Sequence[str]) -> dict[str, Any]:
    """Return, for each set that the model never saw, the share of each category called present."""
    found: dict[str, Any] = {}
    for name in (each for each in NAMES if each not in seen):
        of_set = films.take(films.sets == name)
        found[name] = {}
        for category in ("normal", "other", "abnormal", "opacity"):
            present = of_set.is_present[of_set.categories == category]
            if len(present):
                found[name][category] = {
                    "images": len(present),
                    **wilson(int(present.sum()), len(present)),
                }
    return found


def subgroups(films: Films, features: Features, shares: FloatArray) -> dict[str, Any]:
    """Return figures of RSNA by view and by sex.

    Args:
        films: all films.
        features: their descriptions.
        shares: each film's share of the attention inside the thorax, NaN without attention.
    """
    found: dict[str, Any] = {}
    of_set = films.sets == "rsna2018"
    for group in SUBGROUPS:
        here = of_set & ((films.views == group) | (films.sexes == group))
        if not here.any():
            continue
        labels, patients = films.labels(OPACITY)[here], films.patients[here]
        told = {
            name: area(labels, within(each[here], labels, patients), patients)
            for name, each in features.items()
        }
        found[group] = {
            "images": int(here.sum()),
            "positive": int(labels.sum()),
            "within": told,
            "model": area(labels, films.scores[here], patients),
            "inside_thorax": mean_of(shares[here], patients),
        }
    return found


def mean_of(values: FloatArray, patients: NDArray[np.str_]) -> dict[str, Any]:
    """Return the mean of the known values with its interval over patients."""
    known = ~np.isnan(values)
    values, patients = values[known], patients[known]
    if len(values) == 0:
        return {"images": 0, "value": None, "ci95": [None, None]}
    drawn = [w @ values / w.sum(1) for w in resamplings(patients, draws=DRAWS, seed=SEED)]
    return {"images": len(values), **interval(float(values.mean()), np.concatenate(drawn))}


def attention(films: Films, found: InsideThorax) -> dict[str, Any]:
    """Return each set's mean share of the attention inside the thorax."""
    sets = {}
    for name in NAMES:
        here = films.sets == name
        if not here.any():
            continue
        measured = found.measured[here][~np.isnan(found.measured[here])]
        sets[name] = {
            **mean_of(found.shares[here], films.patients[here]),
            "area": mean_of(found.areas[here], films.patients[here])["value"],
            "measured": wilson(int(measured.sum()), len(measured)),
        }
    return sets
