"""The films of a cache, and what each of them teaches each head."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.categories import Category
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import EXCLUDED, MEASURING, RSNA_TEST

HEADS: Final = ("opacity", "other", "normal")
TEST_PARTS: Final = frozenset({RSNA_TEST, "test"})
# For each head 1, 0, or NaN where it is not known. Readers who marked an opacity did not say
# whether there is another abnormality too; of tuberculosis it is known only that it is not normal.
_UNKNOWN: Final = float("nan")
TEACHES: Final[dict[str, tuple[float, float, float]]] = {
    Category.OPACITY.value: (1, _UNKNOWN, 0),
    Category.OTHER.value: (0, 1, 0),
    Category.NORMAL.value: (0, 0, 1),
    Category.ABNORMAL.value: (_UNKNOWN, _UNKNOWN, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmTable:
    """What is known of films, as parallel arrays."""

    sha256: NDArray[np.str_]
    source: NDArray[np.str_]  # all sets of NIH's films but RSNA are "nih"
    category: NDArray[np.str_]
    patient: NDArray[np.str_]
    view: NDArray[np.str_]
    sex: NDArray[np.str_]
    age_group: NDArray[np.str_]
    part: NDArray[np.str_]
    film: NDArray[np.str_]  # the name of the file without its suffix

    def __len__(self) -> int:
        return len(self.sha256)

    def take(self, index: NDArray[Any]) -> "FilmTable":
        """Return the films at `index`, or where a mask is true."""
        return FilmTable(**{each.name: getattr(self, each.name)[index] for each in fields(self)})

    @property
    def labels(self) -> NDArray[np.float32]:
        """The label of each film for each head, N x heads; NaN where it is not known."""
        return np.array([TEACHES[name] for name in self.category], np.float32).reshape(-1, 3)

    @property
    def is_trainable(self) -> NDArray[np.bool_]:
        """Whether a film may be trained on: neither of a test split nor for measuring only."""
        return ~np.isin(self.part, [*TEST_PARTS, MEASURING, EXCLUDED])


COLUMNS: Final = tuple(each.name for each in fields(FilmTable))


def is_usable(row: Radiograph, *, with_test: bool) -> bool:
    """Return whether a manifest's row belongs into a cache."""
    if row["part"] == EXCLUDED or (row["part"] in TEST_PARTS and not with_test):
        return False
    return _category(row) in TEACHES


def _category(row: Radiograph) -> str:
    """Return the category; a hospital's own list has labels only."""
    by_label = {1.0: Category.OPACITY.value, 0.0: Category.NORMAL.value}
    return row.get("category") or by_label.get(row["label"], Category.LEFT_OUT.value)


def _source(row: Radiograph) -> str:
    source = row.get("source") or row["cohort"]
    return "nih" if source.startswith("nih_") else source


def table_of(rows: Iterable[Radiograph]) -> FilmTable:
    """Return what is known of a manifest's rows."""
    return _table(
        {
            "sha256": row["sha256"],
            "source": _source(row),
            "category": _category(row),
            "patient": row["patient"],
            "view": row.get("view", ""),
            "sex": row.get("sex", ""),
            "age_group": row.get("age_group", ""),
            "part": row["part"],
            "film": Path(row["image"]).stem,
        }
        for row in rows
    )


def _table(lines: Iterable[Mapping[str, str]]) -> FilmTable:
    found = list(lines)
    return FilmTable(**{name: np.array([line[name] for line in found], str) for name in COLUMNS})


def write_table(table: FilmTable, path: Path) -> None:
    """Write a table as CSV."""
    columns = [getattr(table, name) for name in COLUMNS]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(zip(*columns, strict=True))


def read_table(path: Path) -> FilmTable:
    """Read a CSV that `write_table` wrote.

    Raises:
        ValueError: a column is missing.
    """
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(f"{path} is not the list of a cache: it has no column {min(missing)}")
        return _table(reader)
