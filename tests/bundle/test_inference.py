"""The lines of the bundle's command, for a model that reads another abnormality and knows ages."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
import torch
from scripts.inference import analyse
from scripts.postprocessing.populations import CalibratedByPopulation, ChoosePopulation
from torch import Tensor

POINTS: Final = {"balanced": {"threshold": 0.5, "indeterminate": [0.4, 0.6]}}
LATE: Final = {"balanced": {"threshold": 0.99, "indeterminate": [0.99, 0.99]}}
PLAIN: Final = {"method": "platt", "temperature": 1.0, "bias": 0.0}
METADATA: Final[dict[str, Any]] = {
    "calibration": PLAIN,
    "operating_points": POINTS,
    "default_operating_point": "balanced",
    "other_abnormality": {"calibration": PLAIN, "operating_points": POINTS},
    "populations": {
        "children": {"years": [1, 6], "validated": True},
        "adults": {
            "years": [18, None],
            "validated": False,
            "operating_points": LATE,
            "other_abnormality": {"operating_points": LATE},
        },
        "unknown": {"years": None, "validated": True},
    },
}
AGES: Final = {"child": 3.0, "adult": 40.0, "nobody": None}


def read(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "image": torch.zeros(1, 4, 4), "image_age_years": AGES[item["image"]]}


def forward(images: Tensor) -> dict[str, Tensor]:
    return {"pred": torch.full((len(images), 1), 2.0), "other": torch.full((len(images), 1), 1.0)}


def lines(metadata: Mapping[str, Any], operating_point: str = "balanced") -> list[dict[str, Any]]:
    choose, calibrate = ChoosePopulation(metadata), CalibratedByPopulation(["pred", "other"])

    def postprocess(outputs: dict[Any, Any]) -> dict[Any, Any]:
        found = calibrate(choose(outputs))
        for key in found.keys() & {"pred", "other"}:
            found[key] = found[key].sigmoid()
        return {**found, "region": None}

    return list(
        analyse(
            list(AGES),
            preprocessing=read,
            forward=forward,
            postprocessing=postprocess,
            metadata=metadata,
            operating_point=operating_point,
            batch_size=2,
        )
    )


def test_each_line_has_what_its_population_makes_of_both_numbers() -> None:
    child, adult, nobody = lines(METADATA)
    assert child == {
        "input": "child",
        "probability": pytest.approx(0.8808, abs=1e-4),
        "finding": "present",
        "region": None,
        "population": "children",
        "validated": True,
        "other_abnormality": pytest.approx(0.7311, abs=1e-4),
        "other_finding": "present",
    }
    assert (adult["population"], adult["validated"]) == ("adults", False)
    assert (adult["finding"], adult["other_finding"]) == ("absent", "absent")
    assert nobody["population"] == "unknown"


def test_a_bundle_with_neither_has_the_lines_that_it_had() -> None:
    plain = {key: METADATA[key] for key in ("calibration", "operating_points")}
    assert [line.keys() for line in lines(plain)] == [
        {"input", "probability", "finding", "region"}
    ] * len(AGES)


def test_an_operating_point_that_there_is_not_is_named_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="no operating point 'guess': choose one of balanced"):
        lines(METADATA, "guess")
