import math
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from scripts.evaluation.calibrate import calibrate
from scripts.evaluation.comparison import delong, metric_difference, paired
from scripts.evaluation.confidence_intervals import Interval, resamplings, wilson, with_intervals
from scripts.evaluation.metrics import (
    Results,
    at_point,
    at_point_by_draw,
    auc,
    calibration_error_by_chance,
    overall,
    overall_by_draw,
    ranking,
)
from scripts.evaluation.platt_scaling import fit_platt


def results_of(
    labels: np.ndarray, logits: np.ndarray, probabilities: np.ndarray | None = None
) -> Results:
    """Synthetic results with two images per patient."""
    names = np.arange(len(labels))
    return Results(
        images=np.array([f"i{k}" for k in names]),
        patients=np.array([f"p{k // 2}" for k in names]),
        cohorts=np.full(len(labels), "pediatric"),
        kinds=np.where(labels == 1, "virus", "normal"),
        parts=np.full(len(labels), "validation"),
        sources=np.full(len(labels), "pediatric"),
        categories=np.where(labels == 1, "opacity", "normal"),
        age_groups=np.full(len(labels), "1-5"),
        views=np.full(len(labels), ""),
        sexes=np.full(len(labels), ""),
        held_out=np.full(len(labels), ""),
        others=np.full(len(labels), np.nan),
        labels=labels,
        logits=logits,
        probabilities=1 / (1 + np.exp(-logits)) if probabilities is None else probabilities,
    )


def value(figure: Interval) -> float:
    found = figure["value"]
    assert isinstance(found, float)
    return found


def bounds(figure: Interval) -> tuple[float, float]:
    found = figure["ci95"]
    assert isinstance(found, list)
    low, high = found
    assert low is not None
    assert high is not None
    return low, high


@pytest.fixture
def results() -> Results:
    chance = np.random.default_rng(1)
    labels = (chance.random(600) < 0.7).astype(float)
    return results_of(labels, chance.normal(2 * labels - 1, 1.2))


def test_auc_is_the_probability_that_a_positive_ranks_above_a_negative() -> None:
    labels = np.array([0, 0, 1, 1, 1.0])
    values = np.array([0.1, 0.5, 0.5, 0.9, 0.2])
    pairs = [(p > n) + 0.5 * (p == n) for p in values[labels == 1] for n in values[labels == 0]]
    assert auc(labels, values) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(np.ones(3), np.ones(3)))


def test_metrics_at_a_point_are_those_counted_by_hand() -> None:
    results = results_of(
        np.array([0, 0, 0, 1, 1, 1.0]),
        np.zeros(6),
        np.array([0.1, 0.45, 0.7, 0.3, 0.55, 0.9]),
    )
    worth = at_point(results, {"threshold": 0.5, "indeterminate": [0.4, 0.6]})
    assert worth == pytest.approx(
        {
            "sensitivity": 2 / 3,
            "specificity": 2 / 3,
            "precision": 2 / 3,
            "f1": 2 / 3,
            "accuracy": 4 / 6,
            "abstained": 2 / 6,
            "decided_accuracy": 2 / 4,
        }
    )


def test_platt_scaling_corrects_overconfidence_and_bias(results: Results) -> None:
    temperature, bias = fit_platt(results.labels, results.logits)
    stretched, shifted = fit_platt(results.labels, (results.logits - 2) * 3)
    assert stretched == pytest.approx(3 * temperature, rel=0.01)
    assert shifted == pytest.approx(bias + 2 / temperature, rel=0.01)


def test_platt_scaling_of_a_separable_set_is_finite() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1.0])
    temperature, bias = fit_platt(labels, 10 * labels)
    assert 0.1 < temperature < 100
    assert abs(bias) < 100


def test_a_network_that_ranks_in_reverse_is_not_calibrated(results: Results) -> None:
    with pytest.raises(ValueError, match="nothing to calibrate"):
        fit_platt(results.labels, -results.logits)


def test_each_operating_point_meets_its_criterion_on_the_set_it_was_chosen_on(
    results: Results,
) -> None:
    chosen = calibrate(results)
    points = chosen["operating_points"]
    assert points["screening"]["sensitivity"] >= 0.97
    assert points["rule_in"]["specificity"] >= 0.97
    assert points["balanced"]["sensitivity"] + points["balanced"]["specificity"] == pytest.approx(
        max(
            at_point(results, {"threshold": cut, "indeterminate": [cut, cut]})["sensitivity"]
            + at_point(results, {"threshold": cut, "indeterminate": [cut, cut]})["specificity"]
            for cut in results.probabilities
        ),
        abs=0.01,
    )
    for point in points.values():
        low, high = point["indeterminate"]
        assert low <= point["threshold"] <= high
        assert point["decided_accuracy"] >= point["accuracy"] - 0.01


def test_average_precision_is_the_mean_precision_at_each_positive() -> None:
    labels, values = np.array([1, 0, 1, 0, 1.0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    found = ranking(labels, values, np.ones((1, 5)))["average_precision"][0]
    assert found == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)


def test_brier_score_and_calibration_error_are_those_computed_by_hand() -> None:
    results = results_of(np.array([1, 0, 1, 1.0]), np.zeros(4), np.array([0.95, 0.05, 0.42, 0.48]))
    worth = overall(results)
    assert worth["brier"] == pytest.approx((0.05**2 + 0.05**2 + 0.58**2 + 0.52**2) / 4)
    assert worth["calibration_error"] == pytest.approx((0.05 + 0.05 + 2 * (1 - 0.45)) / 4)


def test_exact_probabilities_have_an_error_by_chance_that_shrinks_with_their_number() -> None:
    drawn = np.random.default_rng(4).random(4000)
    few, many = (
        calibration_error_by_chance(
            results_of(np.zeros(n), np.zeros(n), drawn[:n]), draws=200, seed=1
        )
        for n in (40, 4000)
    )
    assert many < 0.03 < few


def test_a_weight_of_two_is_the_same_image_twice(results: Results) -> None:
    weights = np.random.default_rng(2).integers(0, 3, len(results.labels))
    repeated = results.take(np.repeat(np.arange(len(weights)), weights))
    point = {"threshold": 0.5, "indeterminate": [0.4, 0.6]}
    both = overall_by_draw(results, weights[None].astype(float)) | at_point_by_draw(
        results, weights[None].astype(float), point
    )
    once = overall(repeated) | at_point(repeated, point)
    assert {name: values[0] for name, values in both.items()} == pytest.approx(once)


def test_a_resampling_includes_all_images_of_a_patient(results: Results) -> None:
    weights = np.concatenate(list(resamplings(results.patients, draws=450, seed=1)))
    assert weights.shape == (450, 600)
    assert (weights[:, ::2] == weights[:, 1::2]).all()
    assert (weights.sum(axis=1) == 600).all()


def test_intervals_contain_their_value_and_are_wider_for_fewer_patients(results: Results) -> None:
    few = results_of(results.labels[:60], results.logits[:60])
    wide = with_intervals(few, overall_by_draw, draws=200, seed=1)["auc"]
    narrow = with_intervals(results, overall_by_draw, draws=200, seed=1)["auc"]
    for figure in (wide, narrow):
        low, high = bounds(figure)
        assert low < value(figure) < high
    assert np.ptp(bounds(wide)) > np.ptp(bounds(narrow))
    assert narrow == with_intervals(results, overall_by_draw, draws=200, seed=1)["auc"]


def test_undefined_metrics_are_published_as_none() -> None:
    healthy = results_of(np.zeros(10), np.arange(10.0))
    found = with_intervals(healthy, overall_by_draw, draws=10, seed=1)
    assert found["auc"] == {"value": None, "ci95": [None, None]}
    assert found["brier"]["value"] is not None


def test_wilsons_interval_is_that_of_the_literature_and_stays_within_bounds() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263 and 0 of 20, method 3
    assert wilson(81, 263)["ci95"] == pytest.approx([0.2553, 0.3662], abs=1e-4)
    assert wilson(0, 20)["ci95"] == pytest.approx([0, 0.1611], abs=1e-4)
    assert wilson(0, 0)["value"] is None


def test_delongs_standard_error_is_that_of_its_definition() -> None:
    drawn = np.random.default_rng(5)
    labels = (np.arange(80) % 4 == 0).astype(float)
    one, other = (np.round(drawn.normal(labels * skill, 1), 1) for skill in (2, 1))
    placed = []
    for values in (one, other):
        ill, well = values[labels == 1], values[labels == 0]
        wins = (ill[:, None] > well) + 0.5 * (ill[:, None] == well)
        placed.append((wins.mean(axis=1), wins.mean(axis=0)))
    (a_ill, a_well), (b_ill, b_well) = placed
    variance = np.var(a_ill - b_ill, ddof=1) / 20 + np.var(a_well - b_well, ddof=1) / 60

    found = delong(labels, one, other)
    assert found["difference"] == pytest.approx(auc(labels, one) - auc(labels, other), abs=1e-6)
    assert found["standard_error"] == pytest.approx(math.sqrt(variance), abs=1e-6)
    assert found["difference"] is not None
    assert found["standard_error"] is not None
    assert found["z"] is not None
    assert found["z"] == pytest.approx(found["difference"] / found["standard_error"], abs=1e-3)
    assert found["p"] == pytest.approx(2 * NormalDist().cdf(-found["z"]), rel=0.01)
    assert delong(labels, one, one) == {"difference": 0, "standard_error": 0, "z": 0, "p": 1}


def test_models_are_compared_on_the_images_they_share_including_copies() -> None:
    one = results_of(np.array([0, 1, 0, 1.0]), np.arange(4.0)).take(np.array([0, 1, 1, 3, 2]))
    other = results_of(np.array([0, 1, 0, 1.0]), np.arange(4.0) + 10).take(np.array([3, 1, 1]))
    mine, theirs = paired(one, other)
    assert mine.images.tolist() == theirs.images.tolist() == ["i1", "i1", "i3"]
    assert (theirs.logits - mine.logits == 10).all()


def test_the_interval_of_a_paired_difference_is_narrower_than_those_of_its_metrics(
    results: Results,
) -> None:
    def area(of: Results, weights: np.ndarray) -> np.ndarray:
        return overall_by_draw(of, weights)["auc"]

    drawn = np.random.default_rng(6)
    worse = results_of(results.labels, results.logits + drawn.normal(0, 0.4, 600))
    alone = with_intervals(results, overall_by_draw, draws=300, seed=1)["auc"]
    found = metric_difference((results, area), (worse, area), draws=300, seed=1)
    assert found["value"] == pytest.approx(
        auc(results.labels, results.logits) - auc(worse.labels, worse.logits), abs=1e-6
    )
    assert found["ci95"][0] < found["value"] < found["ci95"][1]
    assert np.ptp(found["ci95"]) < np.ptp(bounds(alone))
    same = metric_difference((results, area), (results, area), draws=300, seed=1)
    assert same == {"value": 0, "ci95": [0, 0], "p": 1}


def test_accuracy_is_compared_at_each_models_own_threshold(results: Results) -> None:
    def accuracy(of: Results, weights: np.ndarray, threshold: float) -> np.ndarray:
        point = {"threshold": threshold, "indeterminate": [threshold, threshold]}
        return at_point_by_draw(of, weights, point)["accuracy"]

    shifted = results_of(results.labels, results.logits + 1)
    moved = 1 / (1 + math.exp(-1))
    found = metric_difference(
        (results, partial(accuracy, threshold=0.5)),
        (shifted, partial(accuracy, threshold=moved)),
        draws=50,
        seed=1,
    )
    assert found["value"] == pytest.approx(0, abs=2 / 600)


def test_metrics_do_not_need_the_packages_of_the_dev_extra(bundle: Path) -> None:
    code = (
        "import sys, scripts.evaluation.comparison, scripts.data.predictions; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=bundle, capture_output=True, text=True, check=True
    )
    assert "scripts.evaluation.confidence_intervals" in done.stdout.split()
    assert not {"matplotlib", "scipy"} & set(done.stdout.split())
