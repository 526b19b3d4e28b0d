"""Choose the radiographs of the robustness tests and write their tables."""

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED

FOLDER: Final = Path("docs/predictions")
REFERENCE: Final = "as published"  # the rendering that the others are compared with


def write_table(name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the same keys as docs/predictions/NAME.csv."""
    found = list(rows)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def sample(
    rows: Sequence[Radiograph], count: int, *, cohort: str | None = None
) -> list[Radiograph]:
    """Return `count` random rows, of one cohort or of all; their order in `rows` has no effect."""
    of_cohort = [row for row in rows if cohort in {None, row["cohort"]}]
    ordered = sorted(of_cohort, key=lambda row: row["sha256"])
    return random.Random(SEED).sample(ordered, min(count, len(ordered)))
