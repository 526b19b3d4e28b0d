"""What configs/metadata.json says is what the bundle is."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from workers.prediction import OperatingPoint

LARGEST = 40 << 20  # bytes, what a repository should carry


@pytest.fixture
def metadata(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def test_the_weights_are_those_it_names(bundle: Path, metadata: dict[str, Any]) -> None:
    weights = bundle / metadata["weights"]["path"]
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == metadata["weights"]["sha256"]
    assert weights.stat().st_size <= LARGEST
    state = torch.load(weights, weights_only=True)
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


def test_the_input_it_describes_is_what_the_preprocessing_gives(
    bundle: Path, metadata: dict[str, Any]
) -> None:
    config = yaml.safe_load((bundle / "configs" / "inference.yaml").read_text())
    image = metadata["network_data_format"]["inputs"]["image"]
    sizes = [
        step["spatial_size"]
        for step in config["preprocessing"]["transforms"]
        if "spatial_size" in step
    ]
    assert sizes == [image["spatial_shape"]]
    assert config["network_def"]["in_channels"] == image["num_channels"]


def test_every_operating_point_is_valid_and_says_what_it_was_chosen_on(
    metadata: dict[str, Any],
) -> None:
    assert metadata["operating_points"].keys() == {"screening", "balanced", "rule_in"}
    assert metadata["default_operating_point"] in metadata["operating_points"]
    for name, point in metadata["operating_points"].items():
        low, high = point["indeterminate"]
        OperatingPoint(
            name=name,
            threshold=point["threshold"],
            indeterminate_low=low,
            indeterminate_high=high,
        )
        assert point["chosen_on"] == "validation"
    assert metadata["operating_points"]["screening"]["sensitivity"] >= 0.97
    assert metadata["operating_points"]["rule_in"]["specificity"] >= 0.97


def test_it_says_where_the_data_is_from_and_what_it_is_not_for(metadata: dict[str, Any]) -> None:
    assert "10.17632/rscbjbr9sj" in metadata["data_source"]
    assert "CC BY 4.0" in metadata["data_source"]
    assert "not a medical device" in metadata["intended_use"].lower()
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["version"])
    assert metadata["version"] in metadata["changelog"]


def test_the_published_figures_are_of_these_weights(bundle: Path, metadata: dict[str, Any]) -> None:
    figures = json.loads((bundle / "docs" / "metrics.json").read_text())
    assert figures.keys() == {"validation", "test", "adult"}
    for part in figures.values():
        assert part["model"] == {
            "version": metadata["version"],
            "weights_sha256": metadata["weights"]["sha256"],
        }
        assert part["operating_points"].keys() == metadata["operating_points"].keys()
        low, high = part["overall"]["auc"]["ci95"]
        assert low < part["overall"]["auc"]["value"] < high


def test_the_model_card_states_the_published_figures(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    figures = json.loads((bundle / "docs" / "metrics.json").read_text())
    assert "not a medical device" in card.lower()
    for part in figures.values():
        auc = part["overall"]["auc"]
        assert f"{auc['value']:.3f} ({auc['ci95'][0]:.3f} to {auc['ci95'][1]:.3f})" in card
