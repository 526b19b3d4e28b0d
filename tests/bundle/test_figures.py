import numpy as np
import pytest
from scripts.calibrate import calibrate, platt_of
from scripts.figures import Results, at_point, auc, overall, with_intervals


def results_of(labels: np.ndarray, logits: np.ndarray) -> Results:
    return Results(
        patients=np.array([f"p{k // 2}" for k in range(len(labels))]),
        labels=labels,
        logits=logits,
        probabilities=1 / (1 + np.exp(-logits)),
    )


@pytest.fixture
def results() -> Results:
    chance = np.random.default_rng(1)
    labels = (chance.random(600) < 0.7).astype(float)
    return results_of(labels, chance.normal(2 * labels - 1, 1.2))


def test_auc_is_the_chance_that_a_patient_ranks_above_a_healthy_one() -> None:
    labels = np.array([0, 0, 1, 1, 1.0])
    values = np.array([0.1, 0.5, 0.5, 0.9, 0.2])
    pairs = [(p > n) + 0.5 * (p == n) for p in values[labels == 1] for n in values[labels == 0]]
    assert auc(labels, values) == pytest.approx(np.mean(pairs))
    assert np.isnan(auc(np.ones(3), np.ones(3)))


def test_figures_at_a_point_count_what_they_say() -> None:
    results = Results(
        patients=np.array(list("abcdef")),
        labels=np.array([0, 0, 0, 1, 1, 1.0]),
        logits=np.zeros(6),
        probabilities=np.array([0.1, 0.45, 0.7, 0.3, 0.55, 0.9]),
    )
    worth = at_point(results, {"threshold": 0.5, "indeterminate": [0.4, 0.6]})
    assert worth == pytest.approx(
        {
            "sensitivity": 2 / 3,
            "specificity": 2 / 3,
            "accuracy": 4 / 6,
            "abstained": 2 / 6,
            "decided_accuracy": 2 / 4,
        }
    )


def test_scaling_undoes_overconfidence_and_bias(results: Results) -> None:
    temperature, bias = platt_of(results.labels, results.logits)
    stretched, shifted = platt_of(results.labels, (results.logits - 2) * 3)
    assert stretched == pytest.approx(3 * temperature, rel=0.01)
    assert shifted == pytest.approx(bias + 2 / temperature, rel=0.01)


def test_scaling_a_separable_set_stays_finite() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1.0])
    temperature, bias = platt_of(labels, 10 * labels)
    assert 0.1 < temperature < 100
    assert abs(bias) < 100


def test_a_network_that_ranks_backwards_is_not_calibrated(results: Results) -> None:
    with pytest.raises(ValueError, match="nothing to calibrate"):
        platt_of(results.labels, -results.logits)


def test_each_operating_point_keeps_its_promise_on_the_set_it_was_chosen_on(
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


def test_intervals_hold_their_value_and_widen_when_patients_are_few(results: Results) -> None:
    wide = with_intervals(
        results_of(results.labels[:60], results.logits[:60]), overall, draws=200, seed=1
    )["auc"]
    narrow = with_intervals(results, overall, draws=200, seed=1)["auc"]
    for figure in (wide, narrow):
        assert figure["ci95"][0] < figure["value"] < figure["ci95"][1]
    assert np.ptp(wide["ci95"]) > np.ptp(narrow["ci95"])
    assert narrow == with_intervals(results, overall, draws=200, seed=1)["auc"]
