"""configs/metadata.json describes the bundle correctly."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from scripts.network.ensemble import SCOPE_CLASSES
from scripts.postprocessing.populations import population_at
from scripts.refusal import RefusalCode

from workers.inference.operating_points import population_faults
from workers.prediction import OperatingPoint

LARGEST = 40 << 20  # bytes, what a repository should carry


@pytest.fixture
def metadata(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def test_the_weights_have_the_digest_of_the_metadata(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    weights = bundle / metadata["weights"]["path"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == metadata["weights"]["sha256"]
    assert weights.stat().st_size <= LARGEST
    state = torch.load(weights, weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


def test_the_documented_input_is_that_of_the_preprocessing(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    config = ConfigParser()
    config.read_config(str(bundle / "configs" / "inference.yaml"))
    image = metadata["network_data_format"]["inputs"]["image"]
    transforms = config.get_parsed_content("preprocessing").transforms
    sizes = [list(step.spatial_size) for step in transforms if hasattr(step, "spatial_size")]
    assert sizes == 2 * [image["spatial_shape"]], "one reads at this size, one resizes the others"
    assert image["num_channels"] == 1


def test_the_model_card_names_the_code_of_every_refusal(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    assert [code for code in RefusalCode if f"`{code}`" not in card] == []


def test_the_size_of_the_input_is_stated_once(bundle: Path) -> None:
    """A copy for another size would else read at one size and resize to another."""
    config = ConfigParser()
    config.read_config(str(bundle / "configs" / "inference.yaml"))
    config["spatial_size"] = [96, 80]
    transforms = config.get_parsed_content("preprocessing").transforms
    assert [step.spatial_size for step in transforms if hasattr(step, "spatial_size")] == 2 * [
        (96, 80)
    ]


def test_the_documented_outputs_are_those_of_the_network(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    side = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"][0]
    config = ConfigParser()
    config.read_config(str(bundle / "configs" / "inference.yaml"))
    with torch.inference_mode():
        outputs = config.get_parsed_content("network_def").eval()(torch.zeros(2, 1, side, side))
    described = metadata["network_data_format"]["outputs"]
    assert described.keys() == outputs.keys()
    for name, output in described.items():
        assert outputs[name].shape == (2, output["num_channels"], *output["spatial_shape"])
        assert len(output["channel_def"]) == output["num_channels"]
    codes = list(described["scope"]["channel_def"].values())
    assert codes[1:] == [str(code) for code in SCOPE_CLASSES[1:]]


def test_the_gates_limits_were_chosen_on_the_validation_part(metadata: dict[str, Any]) -> None:
    scope = metadata["scope"]
    assert 0 < scope["least_in_scope"] < 1
    assert 1 < scope["largest_distance"] < 100
    assert scope["chosen_on"] == "validation"
    assert scope["images"] > 300  # of children and of each set of adults


def test_every_operating_point_is_valid_and_was_not_chosen_on_a_test_split(
    metadata: dict[str, Any],
) -> None:
    entries = [metadata, *metadata.get("populations", {}).values()]
    entries += [entry["other_abnormality"] for entry in entries if "other_abnormality" in entry]
    for entry in entries:
        points = entry.get("operating_points")
        if points is None:
            assert entry["validated"] is False  # a population without data
            continue
        assert points.keys() == {"screening", "balanced", "rule_in"}
        assert metadata["default_operating_point"] in points
        for name, point in points.items():
            low, high = point["indeterminate"]
            OperatingPoint(
                name=name,
                threshold=point["threshold"],
                indeterminate_low=low,
                indeterminate_high=high,
            )
            assert "test" not in point["chosen_on"]
        assert points["screening"]["sensitivity"] >= 0.85
        assert points["rule_in"]["specificity"] >= 0.9


def test_every_age_is_in_one_population_and_each_says_why_it_is_validated_or_not(
    metadata: dict[str, Any],
) -> None:
    assert list(population_faults(metadata)) == []
    populations = metadata["populations"]
    assert [population_at(age, populations) for age in (0, 0.99, 1, 5.99, 6, 17.99, 18, 130)] == [
        *("infants", "infants", "children", "children"),
        *("school_children", "school_children", "adults", "adults"),
    ]
    assert population_at(None, populations) == "unknown"
    assert {name for name, each in populations.items() if each["validated"]} == {
        *("children", "unknown")
    }
    assert all(each["reason"].endswith(".") for each in populations.values())


def test_an_unknown_age_is_read_no_less_cautiously_than_any_population(
    metadata: dict[str, Any],
) -> None:
    """Where a population's finding is not certain, that of an unknown age is not either."""
    unknown = logits(metadata["populations"]["unknown"])
    measured = [each for each in metadata["populations"].values() if "calibration" in each]
    assert len(measured) == 3
    for entry in measured:
        for name, (low, high) in logits(entry).items():
            assert unknown[name][0] <= low + 0.01  # thresholds are rounded
            assert unknown[name][1] >= high - 0.01


def logits(entry: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """The band of each operating point, as the network's logits."""
    temperature, bias = (entry["calibration"][name] for name in ("temperature", "bias"))

    def logit(probability: float) -> float:
        return float(temperature * (math.log(probability / (1 - probability)) - bias))

    return {
        name: (logit(point["indeterminate"][0]), logit(point["indeterminate"][1]))
        for name, point in entry["operating_points"].items()
    }


def test_the_metadata_names_the_data_source_and_the_intended_use(metadata: dict[str, Any]) -> None:
    assert "10.17632/rscbjbr9sj" in metadata["data_source"]
    assert "CC BY 4.0" in metadata["data_source"]
    assert "not a medical device" in metadata["intended_use"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["version"])
    assert metadata["version"] in metadata["changelog"]
