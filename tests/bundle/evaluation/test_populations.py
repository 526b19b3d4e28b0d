"""Calibration and operating points of each population, and what is validated, are computed."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.data.predictions import FILM_COLUMNS, Results, read_predictions, write_predictions
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.platt_scaling import apply_platt
from scripts.evaluation.populations.__main__ import choose_populations, main
from scripts.evaluation.populations.cautious import cautious
from scripts.evaluation.populations.evidence import at_scale_of_ensemble, chosen_on
from scripts.evaluation.populations.findings import count_findings, findings, share
from scripts.evaluation.populations.names import CHOSEN_ON, COHORTS
from scripts.evaluation.populations.points import OTHER_RULES, RULES, choose
from scripts.postprocessing.calibration import finding_at
from synthetic.film_tables import release

Tables = Mapping[str, Sequence[Mapping[str, Any]]]
METADATA = {
    "version": "9.9.9",
    "weights": {"path": "models/model.pt", "sha256": "f" * 64},
    "calibration": {"temperature": 1.0, "bias": 0.0},
    "operating_points": {"balanced": {"threshold": 0.5, "indeterminate": [0.5, 0.5]}},
    "default_operating_point": "balanced",
    "other_abnormality": "of other weights",
}
NAMES = ("screening", "balanced", "rule_in")


def written(bundle: Path, tables: Tables) -> Inputs:
    (bundle / "configs").mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    for name, rows in tables.items():
        write_predictions(bundle / "docs" / "predictions" / f"{name}.csv", rows, FILM_COLUMNS)
    return Inputs(bundle=bundle, draws=20)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return release()


@pytest.fixture(scope="module")
def inputs(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return written(tmp_path_factory.mktemp("release") / "bundle", tables)


@pytest.fixture(scope="module")
def chosen(inputs: Inputs) -> dict[str, Any]:
    return choose_populations(inputs)


@pytest.fixture(scope="module")
def films(inputs: Inputs) -> dict[str, Results]:
    """What each population's operating points are chosen on, uncalibrated."""
    found = [read_predictions(inputs.tables / f"{name}.csv") for name in TABLES_CHOSEN_ON]
    return {name: chosen_on(name, found[0], found[1], found[2]) for name in COHORTS}


TABLES_CHOSEN_ON = ("validation", "cross_validation", "members")


def calibrated(results: Results, entry: Mapping[str, Any]) -> Results:
    scale = entry["calibration"]
    return apply_platt(results, scale["temperature"], scale["bias"])


@pytest.mark.parametrize("name", list(COHORTS))
def test_each_operating_point_keeps_its_promise_on_what_it_was_chosen_on(
    name: str, chosen: dict[str, Any], films: dict[str, Results]
) -> None:
    entry, rules = chosen["populations"][name], RULES[name]
    results = calibrated(films[name].labelled(), entry)
    points = entry["operating_points"]
    counts = {point: count_findings(results, points[point]) for point in NAMES}
    assert share(counts["balanced"], "normal", "present") <= rules.most_false_alarms  # type: ignore[operator]
    missed = share(counts["screening"], "opacity", "absent")
    assert missed is not None
    assert missed <= 1 - rules.least_sensitivity
    present = findings(results, points["rule_in"]) == "present"
    assert present[results.labels == 0].mean() <= 1 - rules.least_specificity + 1e-9
    assert [points[p]["threshold"] for p in NAMES] == sorted(points[p]["threshold"] for p in NAMES)


def test_balanced_finds_as_many_as_its_false_alarms_allow(
    chosen: dict[str, Any], films: dict[str, Results]
) -> None:
    results = calibrated(films["adults"].labelled(), chosen["populations"]["adults"])
    normal = results.probabilities[results.categories == "normal"]
    threshold = chosen["populations"]["adults"]["operating_points"]["balanced"]["threshold"]
    allowed = RULES["adults"].most_false_alarms
    below = results.probabilities[results.probabilities < threshold].max()
    assert (normal >= threshold).mean() <= allowed < (normal >= below).mean()


def test_the_band_is_on_the_side_that_keeps_the_promise_and_leaves_few_undecided(
    chosen: dict[str, Any], films: dict[str, Results]
) -> None:
    for name in COHORTS:
        entry = chosen["populations"][name]
        results = calibrated(films[name].labelled(), entry)
        for point_name, point in entry["operating_points"].items():
            low, high = point["indeterminate"]
            is_screening = point_name == "screening"
            assert (low if is_screening else high) == point["threshold"]
            assert low <= high
            asked = results.take(results.labels == float(is_screening))
            undecided = (findings(asked, point) == "indeterminate").mean()
            assert undecided <= RULES[name].band + 0.01
    adults = chosen["populations"]["adults"]["operating_points"]["balanced"]
    assert adults["indeterminate"][0] < adults["threshold"]


def test_a_label_is_missing_is_a_clear_error(films: dict[str, Results]) -> None:
    only = films["adults"].take(films["adults"].labels == 1)
    with pytest.raises(ValueError, match="no negative film to choose on: RSNA"):
        choose(only, OTHER_RULES, evidence="RSNA")


def test_out_of_fold_logits_are_brought_to_the_ensembles_spread_without_labels(
    inputs: Inputs,
) -> None:
    members, ensemble = inputs.raw("members"), inputs.raw("validation")
    folds = inputs.raw("cross_validation")
    assert members
    assert ensemble
    assert folds
    found = at_scale_of_ensemble(folds, members, ensemble)
    for cohort in COHORTS.values():
        of_members = at_scale_of_ensemble(members, members, ensemble)
        one, all_ = (each.logits[each.cohorts == cohort] for each in (of_members, ensemble))
        assert one.mean() == pytest.approx(all_.mean())
        assert one.std() == pytest.approx(all_.std())
    assert found.logits.std() < folds.logits.std()
    other = replace(members, labels=1 - members.labels, categories=members.categories[::-1])
    assert (at_scale_of_ensemble(folds, other, ensemble).logits == found.logits).all()
    assert at_scale_of_ensemble(folds, None, ensemble) is folds


def test_without_an_age_a_film_is_called_what_every_population_would_call_it(
    chosen: dict[str, Any],
) -> None:
    logits = np.linspace(-15, 15, 3001)
    called: dict[str, list[str]] = {}
    for name in (*COHORTS, "unknown"):
        entry = chosen["populations"][name]
        scale, point = entry["calibration"], entry["operating_points"]["balanced"]
        probabilities = 1 / (1 + np.exp(-(logits / scale["temperature"] + scale["bias"])))
        called[name] = [finding_at(each, point) for each in probabilities]
    agree = [
        one if one == other else "indeterminate"
        for one, other in zip(called["children"], called["adults"], strict=True)
    ]
    # limits are rounded to five digits: a logit next to one may fall on its other side
    assert np.mean(np.array(agree) == np.array(called["unknown"])) > 0.995
    assert set(called["unknown"]) == {"present", "absent", "indeterminate"}


def test_in_the_cautious_calibration_all_populations_count_the_same(
    chosen: dict[str, Any], films: dict[str, Results]
) -> None:
    entries = [chosen["populations"][name] for name in COHORTS]
    known = [films[name].labelled() for name in COHORTS]
    children = known[0]
    often = children.take(np.repeat(np.arange(len(children.labels)), 3))
    one, other = cautious(entries, known), cautious(entries, [often, known[1]])
    even = [each["calibration"] for each in (one, other)]  # the logits of which mean one half
    assert even[0]["temperature"] * even[0]["bias"] == pytest.approx(
        even[1]["temperature"] * even[1]["bias"], abs=0.02
    )
    shares = [each.labels.mean() for each in known]
    assert one["calibration"]["prevalence"] == pytest.approx(np.mean(shares), abs=1e-4)


def test_the_metadata_has_every_population_and_the_cautious_reading_as_default(
    chosen: dict[str, Any],
) -> None:
    found = chosen["populations"]
    years = {name: entry["years"] for name, entry in found.items()}
    assert years["unknown"] is None
    assert {name: tuple(each) for name, each in years.items() if each} == {
        "infants": (0, 1),
        "children": (1, 6),
        "school_children": (6, 18),
        "adults": (18, None),
    }
    for name in ("infants", "school_children"):
        assert found[name].keys() == {"years", "validated", "reason"}
        assert not found[name]["validated"]
    for key in ("calibration", "operating_points"):
        assert chosen[key] == found["unknown"][key]
    assert chosen["default_operating_point"] == "balanced"
    assert "other_abnormality" not in found["children"]  # nobody of them has a known one
    assert "other_abnormality" not in chosen  # it would be theirs too
    for entry in (chosen, found["adults"], found["adults"]["other_abnormality"]):
        assert list(entry["operating_points"]) == list(NAMES)
        assert 0 < entry["calibration"]["prevalence"] < 1
        assert "test" not in json.dumps(entry["operating_points"])
    assert json.loads(json.dumps(chosen)) == json.loads(json.dumps(chosen, allow_nan=False))


def test_a_population_is_validated_if_its_figures_reach_the_bounds(chosen: dict[str, Any]) -> None:
    for name in ("children", "adults", "unknown"):
        assert chosen["populations"][name]["validated"] is True, chosen["populations"][name]
        assert chosen["populations"][name]["reason"].startswith("Reached: ")
    reason = chosen["populations"]["adults"]["reason"]
    for figure in ("AUC", "normal films called present", "Shenzhen", "Montgomery", "Hannover"):
        assert figure in reason


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (lambda _: release(adults=1.0), "AUC of an opacity against the rest 0."),
        (lambda found: without(found, "out_of_source"), "Shenzhen called present by a training"),
        (lambda found: without(found, "measuring"), "Hannover"),
    ],
)
def test_adults_are_not_validated_by_a_figure_that_is_missed_or_missing(
    change: Callable[[Tables], Tables], missed: str, tables: Tables, tmp_path: Path
) -> None:
    found = choose_populations(written(tmp_path, change(tables)))["populations"]
    assert found["adults"]["validated"] is False
    assert found["adults"]["reason"].startswith("Not reached: ")
    assert missed in found["adults"]["reason"]
    assert found["children"]["validated"] is True


def without(tables: Tables, name: str) -> Tables:
    return {key: rows for key, rows in tables.items() if key != name}


def test_a_network_without_another_abnormality_has_no_operating_point_for_it(
    tmp_path: Path,
) -> None:
    found = choose_populations(written(tmp_path, release(has_other=False)))
    assert "other_abnormality" not in json.dumps(found)


@pytest.mark.parametrize("category", ["normal", "opacity"])
def test_without_an_age_another_abnormality_is_named_only_if_children_rarely_are(
    tables: Tables, tmp_path: Path, category: str
) -> None:
    def found_with(other: str) -> Mapping[str, Any]:
        def changed(row: Mapping[str, Any]) -> Mapping[str, Any]:
            if row["source"] != "pediatric":
                return row
            return {**row, "other": other if row["category"] == category else "-9.0"}

        lines = {name: [changed(row) for row in rows] for name, rows in tables.items()}
        folder = tmp_path / other
        folder.mkdir()
        populations: Mapping[str, Any] = choose_populations(written(folder, lines))["populations"]
        return populations

    rarely = found_with("-9.0")
    assert rarely["unknown"]["other_abnormality"] == rarely["adults"]["other_abnormality"]
    found = found_with("5.0")
    assert "other_abnormality" in found["adults"]
    assert "other_abnormality" not in found["unknown"]


def test_the_command_writes_the_metadata_and_never_reads_a_test_split(
    tables: Tables,
    chosen: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inputs = written(tmp_path, tables)
    for name in ("test", "rsna_test"):
        (inputs.tables / f"{name}.csv").write_text("not to be read")
    monkeypatch.chdir(tmp_path)
    main([])
    said = capsys.readouterr().out
    assert "adults: validated. Reached: AUC" in said
    assert "infants: not validated. No radiograph" in said
    assert json.loads((tmp_path / "configs" / "metadata.json").read_text()) == json.loads(
        json.dumps(chosen)
    )


def test_a_missing_table_is_one_line(
    tables: Tables,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written(tmp_path, without(tables, "members"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "members.csv is missing: predict it first" in said


def test_probabilities_out_of_fold_are_calibrated_by_the_other_folds_of_what_is_chosen_on(
    inputs: Inputs,
) -> None:
    before = inputs.films("cross_validation", "adults")
    table = read_predictions(inputs.tables / "cross_validation.csv")
    assert before
    assert CHOSEN_ON["adults"] in before.sources
    assert set(before.categories) == {"opacity", "other", "normal", "abnormal"}
    assert np.isnan(before.labels[before.categories == "abnormal"]).all()
    assert len(before.images) == (table.cohorts == "adult").sum()
    known = before.labelled().take(before.labelled().sources == CHOSEN_ON["adults"])
    assert known.probabilities.mean() == pytest.approx(known.labels.mean(), abs=0.03)
