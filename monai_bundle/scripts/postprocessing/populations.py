"""Choose the population of a patient by age, with its calibrations and operating points."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms.transform import MapTransform, Transform

from scripts.postprocessing.calibration import PlattScaled

Metadata = Mapping[str, Any]


class ChoosePopulation(Transform):
    """Add `population`, the name of the patient's age group, and what is calibrated by it.

    Reads `age_years`, a number or None. Where the metadata have no populations, no `population` is
    added and everybody has the same calibrations. `calibrations` are by the name of an output;
    `attention` has that of `pred`, because it is this logit place by place. `least_evidence` is the
    logit from which a place counts: that of the default operating point, or 0 if that is less.

    Args:
        metadata: of the bundle; `population_at` explains its `populations`.
    """

    def __init__(self, metadata: Metadata) -> None:
        self.populations: Metadata = metadata.get("populations") or {}
        self.of_everyone = _calibrated(metadata, None)
        self.of_population = {name: _calibrated(metadata, name) for name in self.populations}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with its population and calibrations."""
        if not self.populations:
            return {**data, **self.of_everyone}
        name = population_at(data.get("age_years"), self.populations)
        return {**data, "population": name, **self.of_population[name]}


def population_at(age: float | None, populations: Metadata) -> str:
    """Return the name of the first population whose `years`, from and up to, include an age.

    The upper bound does not belong to a population; None is no bound. An age that is not known, or
    of no population, belongs to the one whose `years` are None: its entry is the more cautious.

    Raises:
        ValueError: there is no such population.
    """
    if age is not None:
        for name, entry in populations.items():
            if entry["years"] is not None and _is_within(age, *entry["years"]):
                return name
    for name, entry in populations.items():
        if entry["years"] is None:
            return name
    raise ValueError("the metadata have no population for an age that is not known: years null")


class CalibratedByPopulation(MapTransform):
    """Replace each keyed logit, or map of logits, by the calibrated one; see `ChoosePopulation`.

    A key without a calibration is left out, because it would read as a probability. A key that is
    not there is passed over: not every network reads another abnormality.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with its keyed logits calibrated."""
        result = dict(data)
        for key in result.keys() & set(self.keys):
            logit, calibration = result.pop(key), data["calibrations"].get(key)
            if calibration is not None:
                result[key] = calibration.scale(logit)
        return result


def operating_points_of(metadata: Metadata, population: str | None) -> Metadata:
    """Return the operating points of a population by name; of everybody for None."""
    entry = metadata["populations"][population] if population else {}
    points: Metadata = entry.get("operating_points") or metadata["operating_points"]
    return points


def other_operating_points_of(metadata: Metadata, population: str | None) -> Metadata:
    """Return the operating points of another abnormality; empty where the model reads none."""
    entry = metadata["populations"][population] if population else {}
    points: Metadata = _other_abnormality(metadata, entry).get("operating_points", {})
    return points


def _is_within(age: float, low: float, high: float | None) -> bool:
    return low <= age and (high is None or age < high)


def _calibrated(metadata: Metadata, population: str | None) -> dict[Hashable, Any]:
    """Return `calibrations` and `least_evidence` of a population, or of everybody for None."""
    entry = metadata["populations"][population] if population else {}
    return {
        "calibrations": _calibrations(metadata, entry),
        "least_evidence": least_evidence(metadata, population),
    }


def least_evidence(metadata: Metadata, population: str | None) -> float:
    """Return the logit of the default operating point's threshold, or 0 if that is less.

    Without a default point it is 0.
    """
    default = str(metadata.get("default_operating_point"))
    threshold: float = (
        operating_points_of(metadata, population).get(default, {}).get("threshold", 1 / 2)
    )
    return min(0.0, math.log(max(threshold, 1e-9) / max(1 - threshold, 1e-9)))


def _calibrations(metadata: Metadata, entry: Metadata) -> dict[str, PlattScaled]:
    of_pneumonia = entry.get("calibration") or metadata["calibration"]
    found = {key: _scaled(key, of_pneumonia) for key in ("pred", "attention")}
    if other := _other_abnormality(metadata, entry):
        found["other"] = _scaled("other", other["calibration"])
    return found


def _other_abnormality(metadata: Metadata, entry: Metadata) -> Metadata:
    """Return what applies to another abnormality: the population's own values before the others."""
    return {**(metadata.get("other_abnormality") or {}), **(entry.get("other_abnormality") or {})}


def _scaled(key: str, calibration: Metadata) -> PlattScaled:
    return PlattScaled(key, calibration["temperature"], calibration["bias"])
