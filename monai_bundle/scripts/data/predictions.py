"""The table between measuring and choosing: what came out for each image, without its name."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.evaluation.metrics import Results, sigmoid

COLUMNS: Final = ("image", "patient", "cohort", "kind", "part", "label", "logit", "probability")
_DIGITS: Final = 16


def prediction_of(row: Mapping[str, Any], logit: float, probability: float) -> dict[str, Any]:
    """Give one line of the table for a row of a manifest.

    The image goes by the head of its SHA-256, the patient by that of a hash of cohort and number:
    the same in every table, so that two models can be compared image by image.
    """
    patient = f"{row['cohort']} {row['patient']}"
    return {
        "image": row["sha256"][:_DIGITS],
        "patient": hashlib.sha256(patient.encode()).hexdigest()[:_DIGITS],
        "cohort": row["cohort"],
        "kind": row["kind"],
        "part": row["part"],
        "label": int(row["label"]),
        "logit": f"{logit:.5f}",
        "probability": f"{probability:.6f}",
    }


def write_predictions(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `prediction_of` as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def rescale(path: Path, temperature: float, bias: float) -> None:
    """Write a table's probabilities anew, after another calibration of the same logits."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        scaled = float(row["logit"]) / temperature + bias
        row["probability"] = f"{float(sigmoid(np.array(scaled))):.6f}"
    write_predictions(path, rows)


def read_predictions(path: Path) -> Results:
    """Give back what `write_predictions` wrote."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return Results(
        images=np.array([row["image"] for row in rows]),
        patients=np.array([row["patient"] for row in rows]),
        cohorts=np.array([row["cohort"] for row in rows]),
        kinds=np.array([row["kind"] for row in rows]),
        parts=np.array([row["part"] for row in rows]),
        labels=np.array([float(row["label"]) for row in rows]),
        logits=np.array([float(row["logit"]) for row in rows]),
        probabilities=np.array([float(row["probability"]) for row in rows]),
    )
