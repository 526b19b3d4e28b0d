"""The radiographs of the audit, and what the shipped model says of each.

Neither the official test set of children nor the test split of RSNA takes part, nor any other film
of a patient of that split.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.categories import NO_FINDING, Category
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import FIRST_ADULTS, RSNA, is_rsna_test_patient
from scripts.data.predictions import CHILDREN, FloatArray, image_id, sigmoid
from scripts.evaluation.inputs import OUT_OF_FOLD, OUT_OF_SOURCE, Inputs
from scripts.evaluation.populations.names import COHORTS
from scripts.evaluation.shortcuts.page import OPACITY
from scripts.training.film_features import FilmFeatures

_JOINED: Final = {"nih_misc": "nih_emily"}  # eleven films are no set of their own
_LEFT: Final = frozenset({"lateral"})

ABNORMAL: Final = "abnormal against normal"
TASKS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    OPACITY: (frozenset({Category.OPACITY}), frozenset({Category.OTHER, Category.NORMAL})),
    ABNORMAL: (
        frozenset({Category.OPACITY, Category.OTHER, Category.ABNORMAL}),
        frozenset({Category.NORMAL}),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """Radiographs as parallel arrays of one entry each."""

    sets: NDArray[np.str_]
    patients: NDArray[np.str_]
    categories: NDArray[np.str_]
    views: NDArray[np.str_]
    sexes: NDArray[np.str_]
    scores: FloatArray  # the model's logit; in sets that it saw, of a network that did not see it
    is_present: NDArray[np.bool_]  # the shipped model's finding at its default operating point
    attention: FloatArray  # the shipped model's map on the calibrated scale, N x h x w

    def take(self, index: NDArray[Any]) -> "Films":
        """Return the films at `index`, or where a mask is true."""
        return Films(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def labels(self, task: str) -> FloatArray:
        """Return 1.0, 0.0, or NaN for films that take no part in a task."""
        positive, negative = (np.isin(self.categories, list(side)) for side in TASKS[task])
        return np.where(positive, 1.0, np.where(negative, 0.0, np.nan))


def shared_patients(films: Films, seen: Sequence[str]) -> int:
    """Return how many patients of sets that the model never saw are also in one that it saw."""
    is_seen = np.isin(films.sets, seen)
    return len(np.intersect1d(films.patients[is_seen], films.patients[~is_seen]))


def audited(rows: Sequence[Radiograph]) -> list[Radiograph]:
    """Return the rows that take part, with the name of their set as source."""
    tested = {
        row["patient"]
        for row in rows
        if row["source"] == RSNA and is_rsna_test_patient(row["patient"])
    }
    return [
        Radiograph(**{**row, "source": _JOINED.get(row["source"], row["source"])})
        for row in rows
        if row["part"] != "test" and row["patient"] not in tested and row["source"] not in _LEFT
    ]


def shown(row: Radiograph) -> str:
    """Return the category of a film for the audit, which also takes films that teach nothing."""
    if row["category"] != Category.LEFT_OUT:
        return row["category"]
    if row["source"] == FIRST_ADULTS:
        return Category.OPACITY if row["label"] else Category.NORMAL
    if row["findings"] == NO_FINDING:
        return Category.NORMAL
    known = row["source"] == "nih_ashok133" and row["findings"] == "Effusion"
    return Category.OTHER if known else Category.ABNORMAL


def unseen_logits(inputs: Inputs) -> dict[str, float]:
    """Return the logit of films of the training sets by networks that did not see them.

    Where there is a training that left the source out, it is of that one.
    """
    found: dict[str, float] = {}
    for table in (OUT_OF_FOLD, "validation", OUT_OF_SOURCE):
        for population in COHORTS:
            if films := inputs.films(table, population):
                found |= dict(zip(map(str, films.images), map(float, films.logits), strict=True))
    return found


def trained_sets(rows: Iterable[Radiograph], unseen: Container[str]) -> list[str]:
    """Return the sets of which films were trained on.

    Those that the tables of folds have, and the first adults, whom the members were trained on.
    """
    return sorted({row["source"] for row in rows if image_id(row) in unseen} | {FIRST_ADULTS})


def gather(
    rows: Sequence[Radiograph],
    shipped: FilmFeatures,
    unseen: Mapping[str, float],
    inputs: Inputs,
) -> tuple[list[Radiograph], Films]:
    """Return the rows for which the model's answer is known, and their films.

    Args:
        rows: those of `audited`.
        shipped: what the shipped model found.
        unseen: logits by `image_id`, see `unseen_logits`.
        inputs: with the calibrations and the operating points.

    Raises:
        ValueError: there is none.
    """
    places = {str(name): place for place, name in enumerate(shipped.sha256)}
    seen = trained_sets(rows, unseen)
    kept = [
        row
        for row in rows
        if row["sha256"] in places and (row["source"] not in seen or image_id(row) in unseen)
    ]
    if not kept:
        raise ValueError("every film was refused or is unknown: there is nothing to audit")
    found = [places[row["sha256"]] for row in kept]
    populations = ["children" if row["cohort"] == CHILDREN else "adults" for row in kept]
    scales = [inputs.entry(name)["calibration"] for name in populations]
    temperature, bias = (
        np.array([each[name] for each in scales]) for name in ("temperature", "bias")
    )
    logits = shipped.logits[found] / temperature + bias
    limits = np.array([inputs.default(name)["threshold"] for name in populations])
    films = Films(
        sets=np.array([row["source"] for row in kept]),
        patients=np.array([row["patient"] for row in kept]),
        categories=np.array([shown(row) for row in kept]),
        views=np.array([row["view"] for row in kept]),
        sexes=np.array([row["sex"] for row in kept]),
        scores=np.array(
            [unseen.get(image_id(row), logit) for row, logit in zip(kept, logits, strict=True)]
        ),
        is_present=sigmoid(logits) >= limits,
        attention=shipped.attention[found] / temperature[:, None, None] + bias[:, None, None],
    )
    return kept, films
