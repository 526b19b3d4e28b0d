"""The population of a patient decides calibrations and operating points."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle.config_parser import ConfigParser
from scripts.postprocessing.populations import (
    ChoosePopulation,
    operating_points_of,
    other_operating_points_of,
    population_at,
)

POPULATIONS: Final[dict[str, Any]] = {
    "unknown": {"years": None},
    "adults": {"years": [18, None]},
    "infants": {"years": [0, 1]},
    "children": {"years": [1, 6]},
}


def calibrated(temperature: float, bias: float) -> dict[str, Any]:
    return {"calibration": {"method": "platt", "temperature": temperature, "bias": bias}}


POINTS: Final = {"balanced": {"threshold": 0.5, "indeterminate": [0.4, 0.6]}}
OF_CHILDREN: Final = {"balanced": {"threshold": 0.7, "indeterminate": [0.6, 0.8]}}


@pytest.mark.parametrize(
    ("age", "name"),
    [
        (0, "infants"),
        (0.999, "infants"),
        (1, "children"),
        (5.999, "children"),
        (18, "adults"),
        (130, "adults"),
        (6, "unknown"),  # nobody has figures for this age
        (17.999, "unknown"),
        (-1, "unknown"),
        (float("nan"), "unknown"),
        (None, "unknown"),
    ],
)
def test_the_upper_bound_of_a_population_does_not_belong_to_it(age: float, name: str) -> None:
    assert population_at(age, POPULATIONS) == name


@given(st.none() | st.floats(), st.permutations(list(POPULATIONS)))
def test_every_age_has_one_population_in_whatever_order_they_are(
    age: float | None, order: list[str]
) -> None:
    assert population_at(age, {name: POPULATIONS[name] for name in order}) == population_at(
        age, POPULATIONS
    )


def test_of_populations_that_overlap_the_first_counts() -> None:
    assert population_at(3, {"a": {"years": [0, 5]}, **POPULATIONS}) == "a"


def test_without_a_population_for_an_unknown_age_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="years null"):
        population_at(None, {"adults": {"years": [18, None]}})


@pytest.fixture
def metadata(bundle: Path) -> dict[str, Any]:
    """The shipped metadata, with other calibrations, and another abnormality."""
    found: dict[str, Any] = json.loads((bundle / "configs" / "metadata.json").read_text())
    found["scope"] = {"least_in_scope": 0, "largest_distance": 1e9}
    return found | {
        **calibrated(2.0, 0.0),
        "operating_points": POINTS,
        "other_abnormality": {**calibrated(1.0, 1.0), "operating_points": POINTS},
        "populations": {
            "adults": {"years": [18, None]},
            "children": {
                "years": [1, 6],
                **calibrated(1.0, 0.5),
                "operating_points": OF_CHILDREN,
                "other_abnormality": {**calibrated(4.0, 0.0), "operating_points": OF_CHILDREN},
            },
            "unknown": {"years": None},
        },
    }


def postprocess(bundle: Path, metadata: dict[str, Any], **outputs: Any) -> dict[str, Any]:  # noqa: ANN401 -- a network's
    """Apply the postprocessing of configs/inference.yaml with these metadata."""
    config = ConfigParser()
    config.read_config(str(bundle / "configs" / "inference.yaml"))
    config.read_meta(metadata)
    found: dict[str, Any] = config.get_parsed_content("postprocessing")(outputs)
    return found


def logits() -> dict[str, Any]:
    return {"pred": torch.tensor([2.0]), "other": torch.tensor([-2.0])}


def sigmoid(logit: float) -> float:
    return float(torch.tensor(logit).sigmoid())


@pytest.mark.parametrize(
    ("age", "population", "pred", "other"),
    [(3.0, "children", 2.5, -0.5), (40.0, "adults", 1.0, -1.0), (None, "unknown", 1.0, -1.0)],
)
def test_both_logits_are_calibrated_by_the_population(
    bundle: Path,
    metadata: dict[str, Any],
    age: float | None,
    population: str,
    pred: float,
    other: float,
) -> None:
    found = postprocess(bundle, metadata, **logits(), age_years=age)
    assert found["population"] == population
    assert float(found["pred"]) == pytest.approx(sigmoid(pred))
    assert float(found["other"]) == pytest.approx(sigmoid(other))


def test_without_populations_everybody_is_calibrated_alike_and_none_is_named(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    del metadata["populations"]
    for age in (3.0, None):
        found = postprocess(bundle, metadata, **logits(), age_years=age)
        assert "population" not in found
        assert float(found["pred"]) == pytest.approx(sigmoid(1.0))
        assert float(found["other"]) == pytest.approx(sigmoid(-1.0))


def test_a_network_without_another_abnormality_gives_none(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    assert "other" not in postprocess(bundle, metadata, pred=torch.tensor([2.0]), age_years=3)


def test_another_abnormality_that_is_not_calibrated_does_not_read_as_a_probability(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    del metadata["other_abnormality"], metadata["populations"]["children"]["other_abnormality"]
    assert "other" not in postprocess(bundle, metadata, **logits(), age_years=3.0)


def test_the_region_depends_on_the_calibration_of_the_population(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    attention = torch.full((1, 7, 7), -1.0)
    attention[0, 2, 4] = 1.0
    metadata["populations"]["children"] |= calibrated(1.0, -5.0)
    of = {
        age: postprocess(
            bundle, metadata, pred=torch.tensor([0.0]), attention=attention, age_years=age
        )
        for age in (3.0, 40.0)
    }
    assert of[3.0]["region"] is None, "all of it is evidence against pneumonia"
    assert of[40.0]["region"] is not None


def test_a_calibration_that_is_none_is_refused_when_the_bundle_is_loaded(
    metadata: dict[str, Any],
) -> None:
    metadata["populations"]["children"] |= calibrated(0.0, 0.0)
    with pytest.raises(ValueError, match="temperature"):
        ChoosePopulation(metadata)


def test_operating_points_are_the_populations_own_or_those_of_everybody(
    metadata: dict[str, Any],
) -> None:
    for of in (operating_points_of, other_operating_points_of):
        assert of(metadata, "children") == OF_CHILDREN
        assert of(metadata, "adults") == of(metadata, None) == POINTS
    del metadata["other_abnormality"]
    assert other_operating_points_of(metadata, "adults") == {}
