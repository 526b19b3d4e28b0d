"""The inputs of the report: the tables in docs/predictions, and the metadata."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.bundle.files import read_metadata
from scripts.data.predictions import Results, joined, read_predictions
from scripts.evaluation.confidence_intervals import DRAWS, SEED
from scripts.evaluation.platt_scaling import apply_platt, cross_fit
from scripts.evaluation.populations.evidence import at_scale_of_ensemble
from scripts.evaluation.populations.names import CHOSEN_ON, COHORTS, Population

# The tables of the shipped weights, by the part of the manifest that each is of.
SHIPPED: Final = {
    "validation": "validation",
    "measuring": "measuring",
    "test": "test",
    "rsna-test": "rsna_test",
}
TEST_TABLES: Final = ("test", "rsna_test")
OUT_OF_FOLD: Final = "cross_validation"  # by the training that held the fold out
OUT_OF_SOURCE: Final = "out_of_source"  # by a training that held the source out
MEMBERS: Final = "members"  # the validation part, by each of the trainings that ship


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
    def has_populations(self) -> bool:
        """Whether the bundle has operating points for each population."""
        return "populations" in self.metadata

    def entry(self, population: str) -> Mapping[str, Any]:
        """Return what has the calibration and the operating points of a population."""
        entry: dict[str, Any] = self.metadata.get("populations", {}).get(population, {})
        return entry if "calibration" in entry else self.metadata

    def points(self, population: str) -> dict[str, Any]:
        """Return the operating points of a population by name."""
        points: dict[str, Any] = self.entry(population)["operating_points"]
        return points

    @property
    def default_point(self) -> str:
        """The name of the default operating point."""
        return str(self.metadata["default_operating_point"])

    def default(self, population: str) -> dict[str, Any]:
        """Return the default operating point of a population."""
        point: dict[str, Any] = self.points(population)[self.default_point]
        return point

    def rows(self, name: str) -> list[dict[str, str]] | None:
        """Return the rows of a table as they are."""
        path = self.tables / f"{name}.csv"
        if not path.exists():
            return None
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def raw(self, name: str) -> Results | None:
        """Return a table of predictions as it is."""
        path = self.tables / f"{name}.csv"
        return read_predictions(path) if path.exists() else None

    def uncalibrated(self, name: str, population: str) -> Results | None:
        """Return a table's films of a population, or None if there is none.

        The logits of single trainings are brought to the ensemble's scale, where the release has
        what that takes.

        Args:
            name: the table's name, without its suffix.
            population: one of the populations.
        """
        results = self.raw(name)
        if results is None:
            return None
        results = results.take(results.cohorts == COHORTS[population])
        if not len(results.images):
            return None
        if name == OUT_OF_FOLD:
            return at_scale_of_ensemble(results, self.raw(MEMBERS), self.raw("validation"))
        return results

    def films(self, name: str, population: str) -> Results | None:
        """Return `uncalibrated` films, labelled or not, with calibrated logits and probabilities.

        The shipped weights and the trainings that held a source out take the calibration of the
        population; each fold of cross-validation takes one chosen in the same way without the fold;
        other models stay as they are.
        """
        results = self.uncalibrated(name, population)
        if results is None or name != OUT_OF_FOLD:
            return results and _scaled(results, name, self.entry(population))
        return _out_of_fold(results, self._beside_folds(population), CHOSEN_ON[population])

    def other(self, name: str, population: str) -> Results | None:
        """Return a table's films for the question of another abnormality, calibrated as `films`.

        None where there is no such film or no such head.
        """
        results = self.uncalibrated(name, population)
        entry = self.entry(population).get("other_abnormality")
        if results is None or not entry:
            return None
        asked = results.about_other()
        if len(np.unique(asked.labels)) < 2:  # noqa: PLR2004 -- both classes
            return None
        if name != OUT_OF_FOLD:
            return _scaled(asked, name, entry)
        beside = self._beside_folds(population)
        return _out_of_fold(asked, beside and beside.about_other(), CHOSEN_ON[population])

    def _beside_folds(self, population: str) -> Results | None:
        """Return the films by the ensemble that a calibration is chosen on beside the folds."""
        has_members = (self.tables / f"{MEMBERS}.csv").exists()
        return self.uncalibrated("validation", population) if has_members else None

    def predictions(
        self,
        name: str,
        *,
        population: str = Population.CHILDREN,
        kinds: Sequence[str] = (),
    ) -> Results | None:
        """Return the labelled films of a table, see `films`, or None if there is none.

        Args:
            name: the table's name, without its suffix.
            population: the population to keep.
            kinds: the kinds to keep; all of them if empty.
        """
        results = self.films(name, population)
        if results is None:
            return None
        results = results.labelled()
        if kinds:
            results = results.take(np.isin(results.kinds, kinds))
        return results if len(results.images) else None


def _scaled(results: Results, name: str, entry: Mapping[str, Any]) -> Results:
    if name not in SHIPPED.values() and name != OUT_OF_SOURCE:
        return results
    calibration = entry["calibration"]
    return apply_platt(results, calibration["temperature"], calibration["bias"])


def _out_of_fold(folds: Results, beside: Results | None, source: str) -> Results:
    """Calibrate each fold by the other folds, and by what is beside them, of one source."""
    pool = joined([folds, beside]) if beside else folds
    chosen = pool.sources == source
    return cross_fit(pool, chosen if chosen.any() else None).take(np.arange(len(folds.images)))
