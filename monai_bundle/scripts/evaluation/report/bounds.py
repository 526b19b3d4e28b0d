"""How far the model can be trusted: renderings, the gate, where it looks, the marker corners."""

import json
from collections import Counter
from typing import Any, Final

import numpy as np

from scripts.evaluation.confidence_intervals import interval, resamplings, rounded, wilson
from scripts.evaluation.metrics import FloatArray, auc
from scripts.evaluation.report.inputs import Inputs

REFERENCE: Final = "as published"  # the rendering that the others are held against
NEAR: Final = 0.02  # probability
EPSILON: Final = 1e-9  # the tables are decimal: a difference of 0.02 is not to fail by rounding
EVERY_RENDERING: Final = "every rendering"


def robustness(inputs: Inputs) -> dict[str, Any] | None:
    """Give, for each rendering of the same radiographs, how far its probability moves.

    The last entry counts an image only if it stays near in every rendering.
    """
    if not (rows := inputs.rows("robustness")):
        return None
    by_rendering: dict[str, dict[str, float]] = {}
    for row in rows:
        by_rendering.setdefault(row["rendering"], {})[row["image"]] = float(row["probability"])
    reference = by_rendering.pop(REFERENCE)
    moved = {
        name: {image: abs(value - reference[image]) for image, value in found.items()}
        for name, found in by_rendering.items()
    }
    in_all = sorted(set(reference).intersection(*moved.values()))
    farthest = {image: max(found[image] for found in moved.values()) for image in in_all}
    return {
        name: _moved(np.array(list(found.values())))
        for name, found in (moved | {EVERY_RENDERING: farthest}).items()
    }


def _moved(distances: FloatArray) -> dict[str, Any]:
    near = int((distances <= NEAR + EPSILON).sum())
    return {
        "images": len(distances),
        "within": wilson(near, len(distances)),
        "percentile_95": rounded(float(np.percentile(distances, 95))),
        "largest": rounded(float(distances.max())),
    }


def gate(inputs: Inputs) -> dict[str, Any] | None:
    """Give what the gate refuses of each kind, in scope (should be none) and out of it (all)."""
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
    """Give where the map lies and whether what it points at matters.

    Deletion takes the pixels away that the map ranks highest (the probability should fall faster,
    so its area be smaller, than with pixels at random); insertion brings them (larger). Petsiuk et
    al., "RISE", BMVC 2018. Intervals are over images.
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
    """Give what blotting out the corners, where side markers stand, does to the probability."""
    if not (rows := inputs.rows("shortcuts")):
        return None
    threshold = inputs.points[inputs.default_point]["threshold"]
    found: dict[str, Any] = {}
    for cohort in sorted({row["cohort"] for row in rows}):
        mine = [row for row in rows if row["cohort"] == cohort]
        labels, before, after = (
            np.array([float(row[key]) for row in mine]) for key in ("label", "before", "after")
        )
        flipped = (before >= threshold) != (after >= threshold)
        found[cohort] = {
            **_moved(np.abs(after - before)),
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
