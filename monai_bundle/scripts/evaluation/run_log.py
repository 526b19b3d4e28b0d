"""docs/test_runs.csv, the log of all runs on the test splits."""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.evaluation.inputs import Inputs
from scripts.evaluation.metrics import at_point, overall
from scripts.evaluation.populations.names import COHORTS, Population

COLUMNS: Final = ("date", "set", "version", "weights_sha256", "auc", "accuracy")
LOG: Final = Path("docs/test_runs.csv")


def append_run(inputs: Inputs, name: str) -> None:
    """Append the run of the shipped weights whose table is `name` in docs/predictions.

    The area is that of the opacity against the rest, the accuracy that at the default point.

    Raises:
        ValueError: the table has no film of a known label.
    """
    for population in COHORTS:
        if results := inputs.predictions(name, population=population):
            point = inputs.default(Population(population))
            write_run(
                inputs.bundle,
                {
                    "set": name,
                    "version": inputs.metadata["version"],
                    "weights_sha256": inputs.metadata["weights"]["sha256"],
                    "auc": f"{overall(results)['auc']:.4f}",
                    "accuracy": f"{at_point(results, point)['accuracy']:.4f}",
                },
            )
            return
    raise ValueError(f"{name}.csv has no film of a known label")


def write_run(bundle: Path, run: Mapping[str, str]) -> None:
    """Append a run, with today's date; what it lacks is left empty."""
    path = bundle / LOG
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n", restval="")
        if is_new:
            writer.writeheader()
        writer.writerow({"date": datetime.now(UTC).date().isoformat(), **run})


def read_runs(inputs: Inputs) -> list[dict[str, str]]:
    """Return the runs, oldest first."""
    path = inputs.bundle / LOG
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
