"""The table between measuring and choosing: what came out for each image, without its name."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from scripts.figures import Results

COLUMNS: Final = ("patient", "label", "logit", "probability")


def write_predictions(path: Path, rows: Iterable[tuple[str, float, float, float]]) -> None:
    """Write rows of `COLUMNS` as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def read_predictions(path: Path) -> Results:
    """Give back what `write_predictions` wrote."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return Results(
        patients=np.array([row["patient"] for row in rows]),
        labels=np.array([float(row["label"]) for row in rows]),
        logits=np.array([float(row["logit"]) for row in rows]),
        probabilities=np.array([float(row["probability"]) for row in rows]),
    )
