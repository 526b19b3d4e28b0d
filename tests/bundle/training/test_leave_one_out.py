"""Heads on kept features, tested on sources that they were not fitted to."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.bundle.files import build_component
from scripts.bundle.loaded import LoadedBundle
from scripts.data.datasets import Radiograph
from scripts.network.ensemble import Ensemble
from scripts.training.film_features import (
    FilmFeatures,
    extract,
    read_features,
    run_members,
)
from scripts.training.leave_one_out import (
    HeadData,
    balanced_weights,
    by_fold,
    by_source,
    head_data,
    head_scores,
    present_elsewhere,
)
from support.module_process import run_module

SOURCES = ("rsna2018", "nlm_shenzhen", "pediatric", "adult_covid")


def a_head_s_data(count: int = 600) -> HeadData:
    """Radiographs whose first feature shows the disease and whose second shows the source."""
    rng = np.random.default_rng(1)
    sources = np.array(SOURCES)[np.arange(count) % 4]
    ill = rng.random(count) < np.where(sources == "pediatric", 0.8, 0.4)
    ill |= sources == "adult_covid"
    categories = np.where(ill, "opacity", np.where(rng.random(count) < 0.5, "normal", "other"))
    categories = np.where((sources == "nlm_shenzhen") & ill, "abnormal", categories)
    categories = np.where((sources == "pediatric") & ~ill, "normal", categories)
    features = rng.normal(size=(count, 8)).astype(np.float32)
    features[:, 0] += 4 * ill
    features[:, 1] += 5 * (sources == "pediatric")
    return HeadData(
        features=features,
        sources=sources,
        categories=categories,
        patients=np.array([f"p{k // 2}" for k in range(count)]),
        parts=np.where(
            sources == "adult_covid",
            "measuring",
            np.array([f"fold-{k // 4 % 5}" for k in range(count)]),
        ),
    )


@pytest.fixture(scope="module")
def data() -> HeadData:
    return a_head_s_data()


def test_classes_weigh_the_same_and_in_each_class_the_sources() -> None:
    labels = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    sources = np.array(["a", "a", "a", "b", "a", "a"])
    weights = balanced_weights(labels, sources)
    assert weights.sum() == pytest.approx(6)
    assert weights[labels == 1].sum() == pytest.approx(3)
    assert weights[:3].sum() == pytest.approx(weights[3])


def test_a_head_that_found_the_disease_holds_on_a_source_it_did_not_see(data: HeadData) -> None:
    found = by_source(data, "opacity")
    assert set(found) == {"rsna2018", "pediatric"}  # Shenzhen has no opacity, Hannover no training
    assert found["rsna2018"]["auc"] > 0.95
    assert set(by_source(data, "abnormal")) == {"rsna2018", "nlm_shenzhen", "pediatric"}
    assert found["rsna2018"].keys() >= {"auc_against_normal", "auc_against_other"}


def test_a_disease_that_only_one_source_shows_does_not_hold(data: HeadData) -> None:
    features = data.features.copy()
    features[data.sources == "rsna2018", 0] = 0
    blind = HeadData(
        features=features,
        sources=data.sources,
        categories=data.categories,
        patients=data.patients,
        parts=data.parts,
    )
    assert abs(by_source(blind, "opacity")["rsna2018"]["auc"] - 0.5) < 0.2


def test_scores_by_fold_are_of_rsna_alone_and_of_nobody_s_own_fold(data: HeadData) -> None:
    areas, scores = by_fold(data, "opacity")
    assert areas["auc"] > 0.95
    assert (np.isnan(scores) == (data.sources != "rsna2018")).all()


def test_what_is_called_present_elsewhere_has_a_threshold_of_rsna(data: HeadData) -> None:
    _, scores = by_fold(data, "opacity")
    found = present_elsewhere(data, scores)
    assert found["adult_covid opacity, fitted to all others"] > 0.8
    assert found["nlm_shenzhen normal, fitted to rsna"] < 0.2


@pytest.mark.parametrize("count", [6, 60], ids=["fewer films", "fewer features"])
def test_a_head_solves_the_normal_equations(data: HeadData, count: int) -> None:
    seen = data.take(np.arange(600) < count)
    labels = (np.arange(count) % 3 == 0).astype(float)
    asked = data.take(np.arange(600) >= 500)
    mean, spread = seen.features.mean(0), seen.features.std(0)
    known = np.hstack([(seen.features - mean) / spread, np.ones((count, 1))]).astype(float)
    new = np.hstack([(asked.features - mean) / spread, np.ones((100, 1))]).astype(float)
    weights = balanced_weights(labels, seen.sources)
    normal = known.T @ (weights[:, None] * known) + 5.0 * 8 * np.eye(9)
    wanted = new @ np.linalg.solve(normal, known.T @ (weights * (2 * labels - 1)))
    assert head_scores(seen, labels, asked) == pytest.approx(wanted, abs=1e-6)


def row(sha256: str, source: str, part: str, category: str = "normal") -> Radiograph:
    return Radiograph(
        image="",
        label=0.0,
        patient=sha256,
        cohort="pediatric" if source == "pediatric" else "adult",
        sha256=sha256,
        source=source,
        part=part,
        category=category,
    )


def test_the_test_split_and_what_is_excluded_take_no_part() -> None:
    rows = [
        row("0" * 64, "rsna2018", "fold-0"),
        row("1" * 64, "rsna2018", "rsna-test"),
        row("2" * 64, "nih_misc", "excluded"),
        row("3" * 64, "nih_misc", "validation"),
        row("4" * 64, "lateral", "measuring", "left-out"),
        row("5" * 64, "pediatric", "test"),
        row("00000004" * 8, "pediatric", "fold-1"),
        row("00000005" * 8, "pediatric", "fold-1"),  # not every fourth
        row("6" * 64, "rsna2018", "fold-0"),  # no features
    ]
    names = [each["sha256"] for each in rows[:-1]]
    known = FilmFeatures(
        sha256=np.array(names),
        pooled=np.zeros((len(names), 3), np.float32),
        logits=np.zeros(len(names)),
        attention=np.zeros((len(names), 7, 7), np.float32),
    )
    data = head_data(rows, known)
    assert sorted(zip(data.sources, data.parts, strict=True)) == [
        ("nih", "validation"),
        ("pediatric", "fold-1"),
        ("rsna2018", "fold-0"),
    ]


def small_bundle() -> LoadedBundle:
    """The bundle's own components with random weights."""
    torch.manual_seed(3)
    network = build_component("network_def").eval()
    preprocessing = build_component("preprocessing")

    def inferer(images: torch.Tensor, network: torch.nn.Module) -> Mapping[str, torch.Tensor]:
        outputs: Mapping[str, torch.Tensor] = network(images)
        return outputs

    return LoadedBundle(
        preprocessing=preprocessing,
        network=network,
        inferer=inferer,
        postprocessing=dict,
        metadata={"weights": {"sha256": "ab"}},
    )


def test_kept_features_give_the_network_s_logit_and_are_not_computed_twice(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)  # the configuration is read from there
    loaded = small_bundle()
    rng = np.random.default_rng(2)
    rows: list[dict[str, Any]] = []
    for number in range(3):
        levels = rng.integers(0, 255, (80, 64)) if number else np.zeros((80, 64))
        path = tmp_path / f"{number}.png"
        Image.fromarray(levels.astype("u1")).save(path)
        rows.append({"image": str(path), "sha256": f"s{number}"})
    folder = tmp_path / "features"
    assert extract(loaded, rows, folder) == 1  # the black one is refused
    found = read_features(folder, "ab")
    assert list(found.sha256) == ["s1", "s2"]
    assert isinstance(loaded.network, Ensemble)
    images = torch.stack([loaded.preprocess(each["image"]) for each in rows[1:]])
    wanted = loaded.run_network(images)["pred"][:, 0].numpy()
    assert found.logits == pytest.approx(wanted, abs=1e-3)
    pooled, _, _ = run_members(loaded.network, images)
    assert found.pooled == pytest.approx(pooled.numpy(), abs=1e-2)
    for each in rows[1:]:
        Path(each["image"]).unlink()
    assert extract(loaded, rows[1:], folder) == 0  # nothing is read again
    trained_anew = replace(loaded, metadata={"weights": {"sha256": "cd"}})
    with pytest.raises(ValueError, match="features of other or unnamed weights"):
        extract(trained_anew, rows[1:], folder)
    with pytest.raises(ValueError, match="features of other or unnamed weights"):
        read_features(folder, "cd")


def test_a_command_without_features_says_so(bundle: Path, tmp_path: Path) -> None:
    options = ("--features", str(tmp_path / "none"))
    done = run_module(bundle, "scripts.training.leave_one_out", *options)
    assert done.returncode == 1
    assert "no features in" in done.stderr
    assert done.stderr.count("\n") == 1
