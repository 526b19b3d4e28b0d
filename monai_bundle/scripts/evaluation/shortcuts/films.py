"""The radiographs of the audit, and what the shipped model says of each.

Neither the official test set of children nor the test split of RSNA takes part, nor any other film
of a patient of that split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.categories import NO_FINDING, Category
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import RSNA, is_rsna_test_patient
from scripts.data.predictions import FloatArray, image_id
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.shortcuts.page import OPACITY

SEEN: Final = ("pediatric", "adult")  # the sets that the shipped weights were trained on
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
    probabilities: FloatArray  # the shipped model's, calibrated
    attention: FloatArray  # the shipped model's map on the calibrated scale, N x 7 x 7

    def take(self, index: NDArray[Any]) -> "Films":
        """Return the films at `index`, or where a mask is true."""
        return Films(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def labels(self, task: str) -> FloatArray:
        """Return 1.0, 0.0, or NaN for films that take no part in a task."""
        positive, negative = (np.isin(self.categories, list(side)) for side in TASKS[task])
        return np.where(positive, 1.0, np.where(negative, 0.0, np.nan))


def shared_patients(films: Films) -> int:
    """Return how many patients of sets that the model never saw are also in one that it saw."""
    is_seen = np.isin(films.sets, SEEN)
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
    if row["source"] == "adult":
        return Category.OPACITY if row["label"] else Category.NORMAL
    if row["findings"] == NO_FINDING:
        return Category.NORMAL
    known = row["source"] == "nih_ashok133" and row["findings"] == "Effusion"
    return Category.OTHER if known else Category.ABNORMAL


def unseen_logits(inputs: Inputs) -> dict[str, float]:
    """Return the logit of each film of the training sets by networks that did not see it."""
    found: dict[str, float] = {}
    for table in ("cross_validation", "validation"):
        if results := inputs.predictions(table):
            found |= dict(zip(map(str, results.images), map(float, results.logits), strict=True))
    return found


def gather(
    rows: Sequence[Radiograph],
    shipped: Mapping[str, NDArray[np.float32]],
    unseen: Mapping[str, float],
    calibration: Mapping[str, float],
) -> tuple[list[Radiograph], Films]:
    """Return the rows for which the model's answer is known, and their films.

    Args:
        rows: those of `audited`.
        shipped: the shipped model's attention map by SHA-256; its mean is the logit.
        unseen: logits by `image_id`, see `unseen_logits`.
        calibration: of the metadata.
    """
    kept = [
        row
        for row in rows
        if row["sha256"] in shipped and (row["source"] not in SEEN or image_id(row) in unseen)
    ]
    raw = np.stack([shipped[row["sha256"]] for row in kept]).astype(float)
    maps = raw / calibration["temperature"] + calibration["bias"]
    logits = maps.mean((1, 2))
    scores = [
        unseen[image_id(row)] if row["source"] in SEEN else logit
        for row, logit in zip(kept, logits, strict=True)
    ]
    films = Films(
        sets=np.array([row["source"] for row in kept]),
        patients=np.array([row["patient"] for row in kept]),
        categories=np.array([shown(row) for row in kept]),
        views=np.array([row["view"] for row in kept]),
        sexes=np.array([row["sex"] for row in kept]),
        scores=np.array(scores),
        probabilities=1 / (1 + np.exp(-logits)),
        attention=maps,
    )
    return kept, films
