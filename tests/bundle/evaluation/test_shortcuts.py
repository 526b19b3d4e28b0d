"""The shortcut audit: descriptions without lungs, the probe, tones, thorax, and its page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.data.datasets import Radiograph
from scripts.data.joined_sets import is_rsna_test_patient
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.metrics import auc
from scripts.evaluation.report.page import page
from scripts.evaluation.run_log import read_runs
from scripts.evaluation.shortcuts.audit import attention, findings, subgroups, tasks
from scripts.evaluation.shortcuts.films import (
    ABNORMAL,
    Films,
    audited,
    gather,
    shared_patients,
    shown,
    trained_sets,
)
from scripts.evaluation.shortcuts.no_lung import (
    border_mask,
    describe,
    describe_all,
    file_facts,
    header_facts,
)
from scripts.evaluation.shortcuts.page import FIGURES, OPACITY, audit, read_figures
from scripts.evaluation.shortcuts.probe import folds_of, ridge_scores, within
from scripts.evaluation.shortcuts.thorax import InsideThorax, inside_thorax, measure_thorax
from scripts.evaluation.shortcuts.tones import sample_sets, tone_curve, with_tones
from scripts.training.film_features import FilmFeatures

SEEN = ("adult", "pediatric")
TEST_PATIENT = next(f"{n:08}" for n in range(1, 99) if is_rsna_test_patient(f"{n:08}"))


def film(sha256: str, source: str, **cells: Any) -> Radiograph:  # noqa: ANN401
    plain = Radiograph(
        image="",
        label=0.0,
        patient=sha256,
        cohort="adult",
        sha256=sha256,
        source=source,
        category="normal",
        findings="No Finding",
        view="",
        sex="",
        age="",
        part="fold-0",
    )
    return cast("Radiograph", {**plain, **cells})


def chest(side: int = 56) -> np.ndarray:
    """A bright body on black, with two dark lungs."""
    image = np.full((side, side), -1.0)
    image[:, side // 10 : -side // 10] = 0.8
    image[side // 5 : 4 * side // 5, side // 5 : 2 * side // 5] = -0.4
    image[side // 5 : 4 * side // 5, 3 * side // 5 : 4 * side // 5] = -0.5
    return image


# --- descriptions


def test_a_description_is_of_the_tone_the_layout_and_the_file(tmp_path: Path) -> None:
    levels = np.zeros((120, 80), dtype="u1")
    levels[:60] = 200
    Image.fromarray(levels).save(tmp_path / "a.png")
    found = describe(tmp_path / "a.png")
    assert found is not None
    assert found["mean_grey"][0] == pytest.approx(100 / 255, abs=1e-6)
    assert (found["histogram"] ** 2).sum() == pytest.approx(1)
    assert sorted(np.flatnonzero(found["histogram"])) == [0, 25]
    thumbnail = found["thumbnail"].reshape(16, 16)
    assert thumbnail[:7] == pytest.approx(200 / 255, abs=1e-6)
    assert thumbnail[9:] == pytest.approx(0)
    assert len(found["border"]) == border_mask().sum()
    assert found["layout"].shape == (56, 56)


def test_the_border_has_no_pixel_of_the_middle() -> None:
    mask = border_mask()
    assert mask[0].all()
    assert mask[:7, :7].all()
    assert not mask[7:-7, 3:-3].any()
    assert mask.mean() < 0.45


def test_file_facts_tell_the_quality_of_a_jpeg_and_the_shape(tmp_path: Path) -> None:
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (60, 90)).astype("u1"))
    image.save(tmp_path / "good.jpg", quality=95)
    image.save(tmp_path / "poor.jpg", quality=30)
    good, poor = (file_facts(path, path.stat().st_size) for path in sorted(tmp_path.glob("*.jpg")))
    assert good[2] == pytest.approx(np.log(1.5))
    assert good[5] < poor[5]  # the steps of the quantisation
    assert good[3] > poor[3]  # the bytes


def test_a_blank_image_has_no_description_and_kept_ones_are_used_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        levels = rng.integers(0, 255, (64, 64)) if number else np.full((64, 64), 9)
        Image.fromarray(levels.astype("u1")).save(path)
        rows.append(film(f"s{number}", "rsna2018", image=str(path)))
    first = describe_all(rows, tmp_path / "runs")
    assert list(first.sha256) == ["s1", "s2"]
    for row in rows:
        Path(row["image"]).unlink()
    again = describe_all(rows, tmp_path / "runs")  # the images are gone: these are the kept ones
    assert (again.thumbnail == first.thumbnail).all()
    assert list(again.take(["s2"]).sha256) == ["s2"]


def test_a_header_says_view_sex_and_age_or_that_it_does_not() -> None:
    rows = [
        film("a", "rsna2018", view="AP", sex="F", age="50"),
        film("b", "rsna2018", view="PA", sex="M"),
        film("c", "nlm_shenzhen"),
    ]
    assert header_facts(rows).tolist() == [
        [1, 0, 0, 1, 1, 0.5, 0.25],
        [0, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]


# --- the probe


def test_the_probe_finds_a_difference_and_none_where_there_is_none() -> None:
    rng = np.random.default_rng(3)
    labels = (np.arange(400) % 4 == 0).astype(float)
    patients = np.array([f"p{k // 2}" for k in range(400)])
    features = rng.normal(size=(400, 5))
    assert 0.4 < auc(labels, within(features, labels, patients)) < 0.6
    features[:, 2] += 2 * labels
    assert auc(labels, within(features, labels, patients)) > 0.85


def test_more_features_than_images_give_the_same_scores_as_the_other_way_of_solving() -> None:
    rng = np.random.default_rng(4)
    seen, asked = rng.normal(size=(30, 10)), rng.normal(size=(7, 10))
    labels = (np.arange(30) % 3 == 0).astype(float)
    wide_seen, wide_asked = (np.hstack([each] * 5) for each in (seen, asked))  # 50 > 30
    # five copies of each feature share its weight: a penalty a fifth as heavy on one copy
    narrow = ridge_scores(seen, labels, asked, penalty=0.02)
    wide = ridge_scores(wide_seen, labels, wide_asked, penalty=0.1)
    assert np.corrcoef(narrow, wide)[0, 1] == pytest.approx(1, abs=1e-3)


def test_all_images_of_a_patient_are_in_one_fold() -> None:
    patients = np.array([f"p{k % 23}" for k in range(200)])
    fold = folds_of(patients)
    assert all(len(set(fold[patients == each])) == 1 for each in set(patients))
    assert set(fold) == set(range(5))


# --- the films


def test_neither_test_set_nor_a_patient_of_one_takes_part() -> None:
    rows = [
        film("test", "rsna2018", patient=TEST_PATIENT, part="rsna-test"),
        film("same", "nih_misc", patient=TEST_PATIENT, part="excluded"),
        film("official", "pediatric", part="test"),
        film("side", "lateral", part="measuring"),
        film("kept", "nih_misc"),
    ]
    assert [(row["sha256"], row["source"]) for row in audited(rows)] == [("kept", "nih_emily")]


@pytest.mark.parametrize(
    ("cells", "category"),
    [
        ({"category": "other"}, "other"),
        ({"source": "adult", "category": "left-out", "label": 1.0}, "opacity"),
        ({"source": "adult", "category": "left-out"}, "normal"),
        ({"source": "nih_ashok133", "category": "left-out", "findings": "Effusion"}, "other"),
        ({"source": "nih_ashok133", "category": "left-out"}, "normal"),
        ({"source": "nih_emily", "category": "left-out", "findings": "Infiltration"}, "abnormal"),
    ],
)
def test_films_that_teach_nothing_are_audited_with_their_published_labels(
    cells: dict[str, Any], category: str
) -> None:
    assert shown(film("a", **({"source": "rsna2018"} | cells))) == category


def features_of(*names: str) -> FilmFeatures:
    return FilmFeatures(
        sha256=np.array(names),
        pooled=np.zeros((len(names), 1), np.float32),
        logits=np.full(len(names), 2.0),
        attention=np.full((len(names), 7, 7), 2.0, np.float32),
    )


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    points = {"balanced": {"threshold": 0.8, "indeterminate": [0.8, 0.8]}}
    entry = {"calibration": {"temperature": 2.0, "bias": 0.5}, "operating_points": points}
    strict = {"balanced": {"threshold": 0.9, "indeterminate": [0.9, 0.9]}}
    found = {
        **entry,
        "default_operating_point": "balanced",
        "populations": {"children": {**entry, "operating_points": strict}},
    }
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps(found))
    return Inputs(bundle=tmp_path)


def test_a_set_that_was_trained_on_has_scores_of_networks_that_did_not_see_it(
    inputs: Inputs,
) -> None:
    rows = [film("new", "rsna2018"), film("seen", "adult"), film("lost", "adult")]
    rows.append(film("child", "pediatric", cohort="pediatric"))
    unseen = {"seen": -3.0, "child": 4.0}
    kept, films = gather(rows, features_of("new", "seen", "lost", "child"), unseen, inputs)
    assert [row["sha256"] for row in kept] == ["new", "seen", "child"]
    assert films.scores.tolist() == [1.5, -3.0, 4.0]
    assert films.is_present.tolist() == [True, True, False]  # at the points of the population
    assert films.attention[0, 0, 0] == 1.5
    assert trained_sets(rows, unseen) == ["adult", "pediatric"]


def test_if_every_film_was_refused_the_error_says_so(inputs: Inputs) -> None:
    with pytest.raises(ValueError, match="every film was refused or is unknown"):
        gather([film("new", "rsna2018")], features_of(), {}, inputs)


def synthetic_films(count: int = 360) -> Films:
    """Films of three sets: in one the model is right, in another it is wrong."""
    rng = np.random.default_rng(5)
    names = np.array(["rsna2018", "adult", "nlm_shenzhen"])[np.arange(count) % 3]
    ill = rng.random(count) < 0.5
    kinds = np.where(ill, "opacity", "normal")
    kinds = np.where(ill & (names == "nlm_shenzhen"), "abnormal", kinds)
    skill = np.where(names == "adult", 1.5, 0.0)
    scores = rng.normal(size=count) + skill * (2 * ill - 1)
    return Films(
        sets=names,
        patients=np.array([f"p{k}" for k in range(count)]),
        categories=kinds,
        views=np.where(np.arange(count) % 2, "AP", "PA"),
        sexes=np.where(np.arange(count) % 5, "F", ""),
        scores=scores,
        is_present=scores >= 0,
        attention=rng.normal(size=(count, 7, 7)),
    )


@pytest.fixture(scope="module")
def films() -> Films:
    return synthetic_films()


def test_a_shortcut_within_a_set_is_found_and_is_worth_nothing_across(films: Films) -> None:
    rng = np.random.default_rng(6)
    tone = rng.normal(size=(len(films.sets), 1))
    tone[(films.sets == "adult") & (films.categories == "opacity")] += 3  # of one set alone
    found = tasks(films, {"tone": tone})
    own = found[OPACITY]["adult"]
    assert own["within"]["tone"]["value"] > 0.9
    assert own["model"]["value"] > 0.9
    rsna = found[OPACITY]["rsna2018"]
    assert abs(rsna["within"]["tone"]["value"] - 0.5) < 0.15
    assert abs(rsna["model"]["value"] - 0.5) < 0.15
    assert "nlm_shenzhen" not in found[OPACITY]  # tuberculosis: an opacity is not known
    assert found[ABNORMAL]["nlm_shenzhen"]["images"] == 120
    low, high = own["within"]["tone"]["ci95"]
    assert low < own["within"]["tone"]["value"] < high
    assert "across" in found[OPACITY]["all adults, pooled"]
    assert found[OPACITY]["all sets, pooled"]["across"] == {}  # nothing is left to fit to


def test_findings_are_counted_in_sets_that_the_model_never_saw(films: Films) -> None:
    found = findings(films, SEEN)
    assert "adult" not in found
    normal = (films.sets == "rsna2018") & (films.categories == "normal")
    present = films.is_present[normal].mean()
    assert found["rsna2018"]["normal"]["value"] == pytest.approx(present, abs=1e-6)
    assert found["rsna2018"]["normal"]["images"] == normal.sum()
    assert set(found["nlm_shenzhen"]) == {"normal", "abnormal"}


def test_patients_of_both_sides_are_counted(films: Films) -> None:
    assert shared_patients(films, SEEN) == 0
    patients = films.patients.copy()
    patients[films.sets == "rsna2018"] = patients[films.sets == "adult"]
    assert shared_patients(replace(films, patients=patients), SEEN) == 120


def test_subgroups_are_those_of_rsna(films: Films) -> None:
    shares = np.full(len(films.sets), 0.8)
    found = subgroups(films, {"tone": np.ones((len(films.sets), 1))}, shares)
    assert set(found) == {"AP", "PA", "F"}
    assert found["AP"]["images"] == ((films.sets == "rsna2018") & (films.views == "AP")).sum()
    assert found["PA"]["inside_thorax"]["value"] == pytest.approx(0.8)


# --- tones


def test_the_tones_of_another_set_are_laid_over_without_changing_the_order() -> None:
    rng = np.random.default_rng(7)
    images = torch.from_numpy(rng.uniform(-1, 1, (3, 1, 40, 40))).float()
    others = torch.from_numpy(rng.beta(2, 5, (5, 1, 40, 40)) * 2 - 1).float()
    curve = tone_curve(others)
    changed = with_tones(images, curve)
    for before, after in zip(images, changed, strict=True):
        order = before.flatten().argsort()
        assert (after.flatten()[order].diff() >= -1e-6).all()
    inner = tone_curve(changed)[8:-8]
    wanted = tone_curve(with_tones(others, curve))[8:-8]
    assert (inner - wanted).abs().max() < 0.02
    assert changed.min() == -1
    assert changed.max() == 1


def test_the_samples_do_not_depend_on_the_order() -> None:
    rows = [film(f"{k:04}", ("a", "b")[k % 2]) for k in range(60)]
    assert sample_sets(rows, 10) == sample_sets(rows[::-1], 10)
    assert {name: len(found) for name, found in sample_sets(rows, 10).items()} == {"a": 10, "b": 10}


# --- the thorax


def test_the_thorax_is_the_box_around_both_lungs() -> None:
    box = measure_thorax(chest())
    assert box is not None
    assert box == pytest.approx((0.2, 0.2, 0.8, 0.8), abs=0.06)
    assert measure_thorax(chest() * 100 + 7) == pytest.approx(box)  # whatever the scale


def one_lung() -> np.ndarray:
    image = chest()
    image[:, 28:-6] = 0.8
    return image


@pytest.mark.parametrize("image", [np.zeros((56, 56)), np.tri(56), one_lung()])
def test_an_image_without_lungs_has_no_thorax(image: np.ndarray) -> None:
    assert measure_thorax(image) is None


def test_the_share_of_attention_inside_is_that_of_the_box() -> None:
    inside, outside = np.full((7, 7), -1.0), np.full((7, 7), -1.0)
    inside[3, 3], outside[:, 0] = 80.0, 20.0
    maps = np.stack([inside, outside, np.full((7, 7), -1.0), np.ones((7, 7))])
    found = inside_thorax(maps, np.stack([chest()] * 3 + [np.zeros((56, 56))]))
    assert found.shares[0] > 0.9
    assert found.shares[1] < 0.1
    assert np.isnan(found.shares[2])  # it speaks against pneumonia
    assert found.measured[[0, 1, 3]].tolist() == [1, 1, 0]
    assert found.shares[3] == pytest.approx(found.areas[3])  # the same everywhere


def test_attention_is_averaged_by_set(films: Films) -> None:
    shares = np.where(films.sets == "adult", 0.4, np.nan)
    measured = np.where(films.sets == "adult", 1.0, np.nan)
    found = attention(films, InsideThorax(shares=shares, areas=shares, measured=measured))
    assert found["adult"]["value"] == pytest.approx(0.4)
    assert found["adult"]["measured"]["value"] == 1
    assert found["rsna2018"]["value"] is None


# --- the page


@pytest.fixture(scope="module")
def figures(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / FIGURES).read_text())


def test_the_figures_are_of_the_shipped_weights_and_of_no_single_radiograph(
    bundle: Path, figures: dict[str, Any]
) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert figures["weights_sha256"] == metadata["weights"]["sha256"]
    assert len((bundle / FIGURES).read_text()) < 100_000
    for task in figures["tasks"].values():
        assert all(each["images"] >= 20 for each in task.values())


def test_the_page_shows_every_set_of_the_audit(bundle: Path, figures: dict[str, Any]) -> None:
    text = (bundle.parent / "docs" / "evaluation.md").read_text()
    assert audit(figures) in text
    assert audit(None) == "not measured"


def test_the_page_says_first_what_the_figures_on_adults_are_worth(bundle: Path) -> None:
    metrics = json.loads((bundle / "docs" / "metrics.json").read_text())
    made = page(metrics, read_runs(Inputs(bundle=bundle)), None)
    if metrics["populations"]:
        assert "On adults its findings mean nothing" not in made
        return
    for text in (
        made,
        (bundle.parent / "docs" / "evaluation.md").read_text(),
        (bundle / "docs" / "README.md").read_text(),
    ):
        opening = " ".join(text.partition("\n## ")[0].split())
        assert "On adults its findings mean nothing" in opening
        assert "0.51" in opening
        assert "62 %" in opening
        assert "Within-set cross-validation is not evidence" in text
        assert "0.83" in text
    readme = " ".join((bundle.parent / "README.md").read_text().split())
    assert "on adults its findings mean nothing" in readme
    assert "0.51" in readme


def test_an_audit_of_other_weights_is_not_shown(tmp_path: Path) -> None:
    assert read_figures(tmp_path, "a") is None
    (tmp_path / "docs").mkdir()
    (tmp_path / FIGURES).write_text(json.dumps({"weights_sha256": "a"}))
    assert read_figures(tmp_path, "a") == {"weights_sha256": "a"}
    assert read_figures(tmp_path, "b") is None
