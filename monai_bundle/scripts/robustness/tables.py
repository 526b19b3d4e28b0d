"""Where the trials write what they found, and whom they are tried on."""

import csv
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED

FOLDER: Final = Path("docs/predictions")


def write(name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of the same keys as docs/predictions/NAME.csv."""
    found = list(rows)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)


def some(rows: Sequence[Radiograph], count: int, *, cohort: str | None = None) -> list[Radiograph]:
    """Give `count` of the rows, of one cohort if it is named, drawn by the seed."""
    of_cohort = [row for row in rows if cohort in {None, row["cohort"]}]
    ordered = sorted(of_cohort, key=lambda row: row["sha256"])
    return random.Random(SEED).sample(ordered, min(count, len(ordered)))


def named(row: Radiograph) -> str:
    """Give the name under which a radiograph stands in every table."""
    return row["sha256"][:16]
