"""docs/test_runs.csv, the log of all runs on the official test set."""

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.data.predictions import read_predictions
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.metrics import at_point, overall

COLUMNS: Final = ("date", "version", "weights_sha256", "auc", "accuracy")


def append_run(inputs: Inputs) -> None:
    """Append the run whose table is docs/predictions/test.csv."""
    results = read_predictions(inputs.tables / "test.csv")
    accuracy = at_point(results, inputs.points[inputs.default_point])["accuracy"]
    run = {
        "date": datetime.now(UTC).date().isoformat(),
        "version": inputs.metadata["version"],
        "weights_sha256": inputs.metadata["weights"]["sha256"],
        "auc": f"{overall(results)['auc']:.4f}",
        "accuracy": f"{accuracy:.4f}",
    }
    path = _path(inputs)
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(run)


def read_runs(inputs: Inputs) -> list[dict[str, str]]:
    """Return the runs, oldest first."""
    path = _path(inputs)
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _path(inputs: Inputs) -> Path:
    return inputs.bundle / "docs" / "test_runs.csv"
