"""The table of predictions: what the network returned for each image, without names of patients."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
COLUMNS: Final = ("image", "patient", "cohort", "kind", "part", "label", "logit", "probability")
_DIGITS: Final = 16  # of a SHA-256 that name an image or a patient


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The predictions of a set of radiographs, as parallel arrays of one entry per image."""

    images: NDArray[np.str_]  # the first 16 digits of each file's SHA-256
    patients: NDArray[np.str_]
    cohorts: NDArray[np.str_]
    kinds: NDArray[np.str_]  # normal, bacteria, virus or pneumonia
    parts: NDArray[np.str_]  # validation, test, or the fold that was held out
    labels: FloatArray  # 1.0 for pneumonia
    logits: FloatArray
    probabilities: FloatArray

    def take(self, index: NDArray[Any]) -> "Results":
        """Return the results at `index`, which may repeat, or where a mask is true."""
        return Results(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    def unit_weights(self) -> FloatArray:
        """Return the weights, 1 x images, under which every image counts once."""
        return np.ones((1, len(self.labels)))


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return the probabilities of `logits`."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def image_id(row: Mapping[str, Any]) -> str:
    """Return the name of a manifest's row in all tables: the first digits of its SHA-256."""
    return str(row["sha256"])[:_DIGITS]


def prediction_of(row: Mapping[str, Any], logit: float, probability: float) -> dict[str, Any]:
    """Return the table's line for a row of a manifest.

    The patient is named by the first digits of a hash of cohort and number. Both names are the
    same in every table, so that two models can be compared image by image.
    """
    patient = f"{row['cohort']} {row['patient']}"
    return {
        "image": image_id(row),
        "patient": hashlib.sha256(patient.encode()).hexdigest()[:_DIGITS],
        "cohort": row["cohort"],
        "kind": row["kind"],
        "part": row["part"],
        "label": int(row["label"]),
        "logit": f"{logit:.5f}",
        "probability": f"{probability:.6f}",
    }


def write_predictions(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write lines of `prediction_of` as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def recalibrate(path: Path, temperature: float, bias: float) -> None:
    """Rewrite a table's probabilities after another calibration of the same logits."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        scaled = float(row["logit"]) / temperature + bias
        row["probability"] = f"{float(sigmoid(np.array(scaled))):.6f}"
    write_predictions(path, rows)


def read_predictions(path: Path) -> Results:
    """Read a CSV that `write_predictions` wrote."""
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
