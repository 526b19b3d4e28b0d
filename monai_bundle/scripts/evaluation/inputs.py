"""The inputs of the report: the tables in docs/predictions, and the metadata."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.bundle.files import read_metadata
from scripts.data.predictions import Results, read_predictions
from scripts.evaluation.confidence_intervals import DRAWS, SEED
from scripts.evaluation.platt_scaling import apply_platt, cross_fit

SHIPPED: Final = ("validation", "test")  # the tables of the shipped weights
OUT_OF_FOLD: Final = ("cross_validation", "adult_alone", "adult_from_pediatric")


@dataclass(frozen=True)
class Inputs:
    """The tables of one bundle. A missing one is None, and the report says "not measured".

    Attributes:
        bundle: the bundle's folder.
        draws: the number of resamplings of an interval.
        seed: of the resamplings.
    """

    bundle: Path
    draws: int = DRAWS
    seed: int = SEED

    @property
    def tables(self) -> Path:
        """The folder of the tables."""
        return self.bundle / "docs" / "predictions"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The content of configs/metadata.json."""
        return read_metadata(self.bundle)

    @property
    def points(self) -> dict[str, Any]:
        """The operating points by name."""
        points: dict[str, Any] = self.metadata["operating_points"]
        return points

    @property
    def default_point(self) -> str:
        """The name of the default operating point."""
        return str(self.metadata["default_operating_point"])

    def rows(self, name: str) -> list[dict[str, str]] | None:
        """Return the rows of a table as they are."""
        path = self.tables / f"{name}.csv"
        if not path.exists():
            return None
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def predictions(
        self, name: str, *, cohort: str | None = None, kinds: Sequence[str] = ()
    ) -> Results | None:
        """Return a table of predictions, or None if it has no matching row.

        The logits of the shipped weights are scaled by the metadata's calibration, those of
        cross-validation by one fitted to the other folds; those of other models stay as they are.

        Args:
            name: the table's name, without its suffix.
            cohort: the cohort to keep, or None for all.
            kinds: the kinds to keep; all of them if empty.
        """
        path = self.tables / f"{name}.csv"
        if not path.exists():
            return None
        results = read_predictions(path)
        if name in SHIPPED:
            calibration = self.metadata["calibration"]
            results = apply_platt(results, calibration["temperature"], calibration["bias"])
        elif name in OUT_OF_FOLD:
            results = cross_fit(results)
        is_kept = np.ones(len(results.images), dtype=bool)
        if cohort:
            is_kept &= results.cohorts == cohort
        if kinds:
            is_kept &= np.isin(results.kinds, kinds)
        return results.take(is_kept) if is_kept.any() else None
