"""docs/evaluation.md, metrics.json and the model card agree with the shipped weights."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from scripts.data.joined_sets import read_indexed_sets
from scripts.data.manifest import load_rows
from scripts.data.predictions import image_id
from scripts.evaluation.inputs import SHIPPED, TEST_TABLES, Inputs
from scripts.evaluation.populations.names import COHORTS
from scripts.evaluation.report.measure import measure
from scripts.evaluation.report.model_card import card_tables
from scripts.evaluation.report.page import page
from scripts.evaluation.run_log import read_runs
from scripts.evaluation.shipped_predictions import ORIGIN
from scripts.evaluation.shortcuts.page import read_figures

SAMPLE = 24
SEED = 20240611
TABLES = (
    *("cross_validation", "first_model", "validation", "test", "measuring", "rsna_test"),
    *("robustness", "gate", "attention", "shortcuts"),
)


@pytest.fixture(scope="module")
def inputs(bundle: Path) -> Inputs:
    return Inputs(bundle=bundle)


@pytest.fixture(scope="module")
def metrics(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "docs" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def text(bundle: Path) -> str:
    return (bundle.parent / "docs" / "evaluation.md").read_text()


@pytest.mark.parametrize("name", TABLES)
def test_the_table_exists(inputs: Inputs, name: str) -> None:
    assert inputs.rows(name)


def test_the_metrics_are_those_of_the_tables(inputs: Inputs, metrics: dict[str, Any]) -> None:
    assert_same(measure(inputs), metrics)


def assert_same(made: Any, published: Any, where: str = "metrics") -> None:  # noqa: ANN401
    """Compare JSON; the last published digit may differ between processors."""
    assert type(made) is type(published), where
    if isinstance(made, dict):
        assert list(made) == list(published), where
        for key, value in made.items():
            assert_same(value, published[key], f"{where}.{key}")
    elif isinstance(made, list):
        assert len(made) == len(published), where
        for place, value in enumerate(made):
            assert_same(value, published[place], f"{where}[{place}]")
    elif isinstance(made, float):
        assert made == pytest.approx(published, rel=1e-3, abs=2e-6), where
    else:
        assert made == published, where


def test_the_page_and_the_model_card_are_those_of_the_metrics(
    inputs: Inputs, metrics: dict[str, Any], text: str
) -> None:
    audit = read_figures(inputs.bundle, metrics["model"]["weights_sha256"])
    assert text == page(metrics, read_runs(inputs), audit)
    assert card_tables(metrics) in (inputs.bundle / "docs" / "README.md").read_text()


def test_no_figure_is_missing(inputs: Inputs, text: str) -> None:
    """A release without populations has no training that left a source out."""
    before, _, after = text.partition("## Populations and sources")
    assert "not measured" not in after
    assert inputs.has_populations is ("not measured" not in before)


def test_the_page_shows_all_existing_plots(inputs: Inputs, text: str) -> None:
    docs = inputs.bundle.parent / "docs"
    shown = {docs / name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)}
    assert shown == set((docs / "evaluation").glob("*.svg"))
    for path in shown:
        assert 1000 < path.stat().st_size < 200_000


def test_the_test_sets_figures_are_those_counted_image_by_image(
    inputs: Inputs, metrics: dict[str, Any]
) -> None:
    rows = inputs.rows("test") or []
    results = inputs.predictions("test")
    assert results
    ill, well = (results.logits[results.labels == label] for label in (1, 0))
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in ill for b in well]
    published = metrics["sets"]["test"]
    assert published["images"] == 624 == len(rows)
    assert published["overall"]["auc"]["value"] == pytest.approx(np.mean(pairs), abs=1e-6)
    for name, point in inputs.points("children").items():
        right = (results.probabilities >= point["threshold"]) == (results.labels == 1)
        accuracy = published["operating_points"][name]["accuracy"]["value"]
        # a probability of six digits may fall on the other side of a threshold of five
        assert accuracy == pytest.approx(np.mean(right), abs=1.5 / len(rows))


def test_the_tables_are_of_the_shipped_weights_and_the_run_is_logged(inputs: Inputs) -> None:
    metadata = inputs.metadata
    origin = json.loads((inputs.tables / ORIGIN).read_text())
    assert origin == dict.fromkeys(SHIPPED.values(), metadata["weights"]["sha256"])
    last = {run["set"]: run["weights_sha256"] for run in read_runs(inputs)}
    assert last == dict.fromkeys(TEST_TABLES, metadata["weights"]["sha256"])


def test_operating_points_were_chosen_on_the_validation_part(inputs: Inputs) -> None:
    assert {row["part"] for row in inputs.rows("validation") or []} == {"validation"}
    assert {row["part"] for row in inputs.rows("test") or []} == {"test"}
    folds = {row["part"] for row in inputs.rows("cross_validation") or []}
    assert folds == {f"fold-{k}" for k in range(5)}
    assert {row["part"] for row in inputs.rows("rsna_test") or []} == {"rsna-test"}
    for name in COHORTS:
        assert all("test" not in point["chosen_on"] for point in inputs.points(name).values())


@pytest.mark.data
def test_the_shipped_weights_give_the_published_probabilities(
    inputs: Inputs, radiographs: Path
) -> None:
    table = inputs.raw("validation")
    assert table
    published = dict(zip(map(str, table.images), map(float, table.logits), strict=True))
    listed = [*load_rows(radiographs), *read_indexed_sets(radiographs)]
    known = sorted({row["sha256"]: row for row in listed if image_id(row) in published}.items())
    assert len(known) == len(published)
    sample = [row for _, row in random.Random(SEED).sample(known, SAMPLE)]

    config = ConfigParser()
    config.read_config(str(inputs.bundle / "configs" / "inference.yaml"))
    config.read_meta(str(inputs.bundle / "configs" / "metadata.json"))
    config["bundle_root"] = str(inputs.bundle)
    config["device"] = torch.device("cpu")
    prepare = config.get_parsed_content("preprocessing")
    images = torch.stack(
        [torch.as_tensor(prepare({"image": row["image"]})["image"]) for row in sample]
    )
    logits = config.get_parsed_content("forward")(images)["pred"].flatten()
    wanted = torch.tensor([published[image_id(row)] for row in sample])
    assert torch.sigmoid(logits) == pytest.approx(torch.sigmoid(wanted), abs=1e-3)
