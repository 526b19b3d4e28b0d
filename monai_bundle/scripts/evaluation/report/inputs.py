"""What the report is made of: the tables of docs/predictions and what the metadata says."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.data.predictions import read_predictions
from scripts.evaluation.calibrate import platt_of
from scripts.evaluation.confidence_intervals import DRAWS, SEED
from scripts.evaluation.metrics import Results, sigmoid

SHIPPED: Final = ("validation", "test")  # the tables that the shipped weights make
OUT_OF_FOLD: Final = ("cross_validation", "adult_alone", "adult_from_pediatric")


@dataclass(frozen=True)
class Inputs:
    """The tables of one bundle. One that is not there is None: the report says "not measured"."""

    bundle: Path
    draws: int = DRAWS
    seed: int = SEED

    @property
    def tables(self) -> Path:
        """The folder of the tables."""
        return self.bundle / "docs" / "predictions"

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What configs/metadata.json says."""
        given: dict[str, Any] = json.loads((self.bundle / "configs/metadata.json").read_text())
        return given

    @property
    def points(self) -> dict[str, Any]:
        """The operating points by name."""
        points: dict[str, Any] = self.metadata["operating_points"]
        return points

    @property
    def default_point(self) -> str:
        """The name of the operating point that is used if nobody chooses one."""
        return str(self.metadata["default_operating_point"])

    def rows(self, name: str) -> list[dict[str, str]] | None:
        """Give a table as it is."""
        path = self.tables / f"{name}.csv"
        if not path.exists():
            return None
        with path.open(newline="") as file:
            return list(csv.DictReader(file))

    def predictions(
        self, name: str, *, cohort: str | None = None, kinds: Sequence[str] = ()
    ) -> Results | None:
        """Give a table of predictions, of one cohort or of some kinds; None if nothing is there.

        The logits of the shipped weights are scaled as the metadata says; those of cross-validation
        as the other folds say; those of other models stay as they are.
        """
        path = self.tables / f"{name}.csv"
        if not path.exists():
            return None
        results = read_predictions(path)
        if name in SHIPPED:
            scale = self.metadata["calibration"]
            results = scaled(results, scale["temperature"], scale["bias"])
        elif name in OUT_OF_FOLD:
            results = cross_fitted(results)
        is_meant = np.ones(len(results.images), dtype=bool)
        if cohort:
            is_meant &= results.cohorts == cohort
        if kinds:
            is_meant &= np.isin(results.kinds, kinds)
        return results.take(is_meant) if is_meant.any() else None


def scaled(results: Results, temperature: float, bias: float) -> Results:
    """Give results whose logits went through Platt's scaling, and whose probabilities follow."""
    logits = results.logits / temperature + bias
    return replace(results, logits=logits, probabilities=sigmoid(logits))


def cross_fitted(results: Results) -> Results:
    """Give each fold scaled by what the other folds' predictions say.

    Each fold was predicted by another network, none of which is the shipped one; scaled this way
    no image has a part in its own calibration, and the folds can be pooled.
    """
    logits = results.logits.copy()
    for part in np.unique(results.parts):
        here = results.parts == part
        if here.all():
            return results
        temperature, bias = platt_of(results.labels[~here], results.logits[~here])
        logits[here] = results.logits[here] / temperature + bias
    return replace(results, logits=logits, probabilities=sigmoid(logits))
