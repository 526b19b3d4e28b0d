"""The shipped reference of drift agrees with the tables it is made of, and with the service."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.bundle.loaded import LoadedBundle
from scripts.data.datasets import Radiograph
from scripts.evaluation.inputs import Inputs
from scripts.monitoring.groups import PROBABILITY, TONE, range_of, tone_of, view_of
from scripts.monitoring.reference import FILE, NOT_KNOWN, probabilities, refusals, tones, views

from service.domain.monitoring.drift import drift
from service.domain.monitoring.inputs import EDGES, GROUPS, DriftInput, number_group
from service.domain.monitoring.reference import parse_reference
from workers.inference.drift_inputs import tone


@pytest.fixture(scope="module")
def shipped(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / FILE).read_text())


@pytest.fixture(scope="module")
def inputs(bundle: Path) -> Inputs:
    return Inputs(bundle=bundle)


def test_the_service_takes_the_shipped_reference(shipped: dict[str, Any]) -> None:
    parsed = parse_reference(shipped)
    assert parsed.keys() | set(NOT_KNOWN) == set(DriftInput)
    assert min(each.counts.total() for each in parsed.values()) >= 200
    assert all(each.of for each in parsed.values())


def test_the_shipped_counts_are_those_of_the_tables(
    shipped: dict[str, Any], inputs: Inputs
) -> None:
    made = {"view": views(inputs), "refusal": refusals(inputs)}
    for name, counts in made.items():
        assert shipped["inputs"][name]["counts"] == dict(counts), name
    published = Counter(shipped["inputs"]["probability"]["counts"])
    found = probabilities(inputs)
    assert found.total() == published.total()
    apart = sum(((found - published) + (published - found)).values())
    assert apart <= 4, "a last digit may fall on the other side of an edge"


def test_bundle_and_service_count_in_the_same_groups() -> None:
    chance = random.Random(3)
    assert EDGES[DriftInput.TONE] == TONE
    assert EDGES[DriftInput.PROBABILITY] == PROBABILITY
    for _ in range(200):
        value = chance.choice((chance.random(), *PROBABILITY, *TONE))
        assert range_of(value, TONE) == number_group(DriftInput.TONE, value)
        assert range_of(value, PROBABILITY) == number_group(DriftInput.PROBABILITY, value)
    assert {view_of(each) for each in ("AP", "PA", "", "L")} <= set(GROUPS[DriftInput.VIEW])


def test_bundle_and_service_measure_the_same_tone() -> None:
    image = torch.rand((1, 32, 32), generator=torch.Generator().manual_seed(4)) * 2 - 1
    assert tone_of(image) == pytest.approx(tone(np.asarray(image)), abs=1e-6)
    assert tone_of(torch.zeros((1, 8, 8))) is None


def test_tones_are_counted_of_files_that_the_preprocessing_takes(
    tmp_path: Path, loaded: LoadedBundle
) -> None:
    chance = np.random.default_rng(1)
    for number in range(3):
        pixels = chance.integers(0, 255, (64, 64), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "blank.png")
    films = [Radiograph(image=str(path), part="fold-0") for path in tmp_path.glob("*.png")]  # type: ignore[typeddict-item]
    counted = tones(loaded, films)
    assert counted.total() == 3
    assert set(counted) <= set(GROUPS[DriftInput.TONE])


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> LoadedBundle:
    """The preprocessing alone: no network is needed to measure a tone."""
    from monai.bundle.config_parser import ConfigParser  # noqa: PLC0415 -- as the bundle does

    config = ConfigParser()
    config.read_config(str(bundle / "configs" / "inference.yaml"))
    config.parse()
    nothing: Any = None
    return LoadedBundle(
        preprocessing=config.get_parsed_content("preprocessing"),
        network=nothing,
        inferer=nothing,
        postprocessing=nothing,
        metadata={},
    )


@pytest.mark.data
@pytest.mark.slow
def test_films_of_the_validation_part_have_the_shipped_tones(
    shipped: dict[str, Any], loaded: LoadedBundle, radiographs: Path
) -> None:
    from scripts.data.manifest import all_sets  # noqa: PLC0415 -- reads every film's digest

    rows = [row for row in all_sets(radiographs) if row["part"] == "validation"]
    sample = random.Random(5).sample(rows, 250)
    counted = tones(loaded, sample)
    groups = GROUPS[DriftInput.TONE]
    reference = shipped["inputs"]["tone"]["counts"]
    found = drift([counted[each] for each in groups], [reference.get(each, 0) for each in groups])
    assert found.index is not None
    assert found.index < 0.15
