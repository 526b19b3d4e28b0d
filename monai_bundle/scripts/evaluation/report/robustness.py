"""Compute the figures of the robustness tests: renderings, gate, attention, marker corners."""

import json
from collections import Counter
from typing import Any, Final

import numpy as np

from scripts.data.predictions import CHILDREN, FloatArray
from scripts.evaluation.confidence_intervals import interval, resamplings, rounded, wilson
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.metrics import auc
from scripts.evaluation.populations.names import Population
from scripts.robustness.tables import REFERENCE

NEAR: Final = 0.02  # difference in probability
EPSILON: Final = 1e-9  # the tables are decimal: rounding must not put 0.02 beyond the limit
EVERY_RENDERING: Final = "every rendering"


def robustness(inputs: Inputs) -> dict[str, Any] | None:
    """Compute, for each rendering of the same radiographs, the change of the probability.

    The last entry counts an image as near only if it is near in every rendering.
    """
    if not (rows := inputs.rows("robustness")):
        return None
    by_rendering: dict[str, dict[str, float]] = {}
    for row in rows:
        by_rendering.setdefault(row["rendering"], {})[row["image"]] = float(row["probability"])
    reference = by_rendering.pop(REFERENCE)
    changes = {
        name: {image: abs(value - reference[image]) for image, value in found.items()}
        for name, found in by_rendering.items()
    }
    in_all = sorted(set(reference).intersection(*changes.values()))
    farthest = {image: max(found[image] for found in changes.values()) for image in in_all}
    return {
        name: _change(np.array(list(found.values())))
        for name, found in (changes | {EVERY_RENDERING: farthest}).items()
    }


def _change(distances: FloatArray) -> dict[str, Any]:
    near = int((distances <= NEAR + EPSILON).sum())
    return {
        "images": len(distances),
        "within": wilson(near, len(distances)),
        "percentile_95": rounded(float(np.percentile(distances, 95))),
        "largest": rounded(float(distances.max())),
    }


def gate(inputs: Inputs) -> dict[str, Any] | None:
    """Count the refusals of each kind, in scope (none is expected) and out of scope (all are)."""
    if not (rows := inputs.rows("gate")):
        return None
    found: dict[str, Any] = {}
    for group in ("in-scope", "out-of-scope"):
        members = [row for row in rows if row["group"] == group]
        found[group] = {
            "kinds": {row["kind"]: _refused([row]) for row in members},
            "all": _refused(members),
        }
    return found


def _refused(rows: list[dict[str, str]]) -> dict[str, Any]:
    total, refused = (sum(int(row[key]) for row in rows) for key in ("n", "refused"))
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(json.loads(row["reasons"] or "{}"))
    return {
        "images": total,
        "refused": refused,
        "share": wilson(refused, total),
        "reasons": dict(sorted(reasons.items())),
    }


def attention(inputs: Inputs) -> dict[str, Any] | None:
    """Compute the position of the attention map and its effect on the probability.

    Deletion removes the pixels that the map ranks highest: the probability should fall faster, so
    that the area under it is smaller than with pixels in random order. Insertion restores them: the
    area should be larger. Petsiuk et al., "RISE", BMVC 2018. Intervals are over images.
    """
    if not (rows := inputs.rows("attention")):
        return None
    columns = {
        name: np.array([float(row[name]) if row[name] != "" else np.nan for row in rows])
        for name in rows[0]
        if name not in {"image", "label"}
    }
    columns["deletion_gain"] = columns["random_deletion"] - columns["deletion"]
    columns["insertion_gain"] = columns["insertion"] - columns["random_insertion"]
    images = np.array([row["image"] for row in rows])
    means = {name: _mean(inputs, images, values) for name, values in columns.items()}
    return {"images": len(rows), **means}


def _mean(inputs: Inputs, images: Any, values: FloatArray) -> dict[str, Any]:  # noqa: ANN401
    known = ~np.isnan(values)
    if not known.any():
        return {"images": 0, "value": None, "ci95": [None, None]}
    drawn = [
        w @ values[known] / w.sum(axis=1)
        for w in resamplings(images[known], draws=inputs.draws, seed=inputs.seed)
    ]
    return {
        "images": int(known.sum()),
        **interval(float(values[known].mean()), np.concatenate(drawn)),
    }


def shortcuts(inputs: Inputs) -> dict[str, Any] | None:
    """Compute the effect on the probability of covering the corners, where side markers are."""
    if not (rows := inputs.rows("shortcuts")):
        return None
    found: dict[str, Any] = {}
    for cohort in sorted({row["cohort"] for row in rows}):
        own = [row for row in rows if row["cohort"] == cohort]
        population = Population.CHILDREN if cohort == CHILDREN else Population.ADULTS
        threshold = inputs.default(population)["threshold"]
        labels, before, after = (
            np.array([float(row[key]) for row in own]) for key in ("label", "before", "after")
        )
        flipped = (before >= threshold) != (after >= threshold)
        found[cohort] = {
            **_change(np.abs(after - before)),
            "mean_change": {
                "normal": _average((after - before)[labels == 0]),
                "pneumonia": _average((after - before)[labels == 1]),
            },
            "findings_changed": wilson(int(flipped.sum()), len(flipped)),
            "auc_before": rounded(auc(labels, before)),
            "auc_after": rounded(auc(labels, after)),
        }
    return found


def _average(values: FloatArray) -> float | None:
    return rounded(float(values.mean())) if len(values) else None
