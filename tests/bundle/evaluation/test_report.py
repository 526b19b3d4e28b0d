"""The report depends on its tables only; checked on synthetic tables."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.data.predictions import FILM_COLUMNS, Results, write_predictions
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.populations.__main__ import choose_populations
from scripts.evaluation.populations.findings import count_findings
from scripts.evaluation.report.measure import SECTIONS, measure
from scripts.evaluation.report.model_card import BEGIN, END
from scripts.evaluation.report.page import page
from scripts.evaluation.report.robustness import EVERY_RENDERING
from scripts.evaluation.report.write import write_report
from scripts.evaluation.shortcuts.page import FIGURES, OPACITY
from synthetic.film_tables import release

POINTS = {
    "screening": {"threshold": 0.2, "indeterminate": [0.1, 0.3]},
    "balanced": {"threshold": 0.5, "indeterminate": [0.4, 0.6]},
    "rule_in": {"threshold": 0.8, "indeterminate": [0.7, 0.9]},
}
METADATA = {
    "version": "9.9.9",
    "weights": {"path": "models/model.pt", "sha256": "f" * 64},
    "calibration": {"temperature": 2.0, "bias": 0.5},
    "operating_points": POINTS,
    "default_operating_point": "balanced",
}
DRAWS = 60
EXTRA: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "robustness": [
        {"image": f"{k:x}", "rendering": name, "probability": f"{0.5 + shift * (k % 2):.3f}"}
        for k in range(20)
        for name, shift in (("as published", 0), ("JPEG 8 bit", 0.02), ("JPEG 2000", 0.1))
    ],
    "gate": [
        {"group": "in-scope", "kind": "children", "n": 200, "refused": 1, "reasons": '{"far": 1}'},
        {"group": "in-scope", "kind": "adults", "n": 100, "refused": 0, "reasons": "{}"},
        {
            "group": "out-of-scope",
            "kind": "photographs",
            "n": 50,
            "refused": 49,
            "reasons": '{"not-a-chest": 40, "far": 9}',
        },
    ],
    "attention": [
        {
            "image": f"{k:x}",
            "label": 1,
            "concentrated": k % 2,
            "inside_thorax": 0.9 if k % 2 else "",
            "deletion": 0.3,
            "insertion": 0.8,
            "random_deletion": 0.5,
            "random_insertion": 0.6,
        }
        for k in range(12)
    ],
    "shortcuts": [
        {
            "image": f"{k:x}",
            "label": k % 2,
            "cohort": "pediatric",
            "before": 0.9 if k % 2 else 0.1,
            "after": 0.4 if k == 1 else 0.9 if k % 2 else 0.1,
        }
        for k in range(10)
    ],
}
FIGURE: Mapping[str, Any] = {"value": 0.7, "ci95": [0.6, 0.8], "images": 40}
TOLD: Mapping[str, Any] = {
    "images": 40,
    "positive": 20,
    "within": {"16x16 thumbnail": FIGURE, "view, sex, age": FIGURE},
    "across": {"16x16 thumbnail": FIGURE, "view, sex, age": FIGURE},
    "model": FIGURE,
    "inside_thorax": FIGURE,
}
MOVED: Mapping[str, Any] = {
    "images": 30,
    "renderings": 60,
    "median": FIGURE,
    "percentile_95": 0.3,
    "findings_changed": FIGURE,
}
AUDIT: Mapping[str, Any] = {
    "weights_sha256": "f" * 64,
    "images": 40,
    "shared_patients": 3,
    "draws": 500,
    "seed": 1,
    "seen": ["pediatric", "adult"],
    "descriptions": {"16x16 thumbnail": 256, "view, sex, age": 7},
    "tasks": {OPACITY: {"rsna2018": TOLD, "all sets, pooled": {**TOLD, "across": {}}}},
    "findings": {"nlm_shenzhen": {"normal": FIGURE}},
    "tones": {"target": 0.05, "all": MOVED, "sets": {"rsna2018": MOVED}},
    "attention": {"rsna2018": {**FIGURE, "area": 0.5, "measured": FIGURE}},
    "subgroups": {"AP": TOLD},
}


def synthetic_predictions(
    seed: int, parts: Sequence[str], cohorts: Sequence[str], skill: float = 2.0, n: int = 240
) -> list[dict[str, Any]]:
    """Predictions that have the same radiographs for the same parts and cohorts."""
    drawn = np.random.default_rng(seed)
    rows = []
    for k in range(n):
        label = int(k % 3 > 0)
        cohort = cohorts[k % len(cohorts)]
        ill = "pneumonia" if cohort == "adult" else ("bacteria", "virus")[k // 3 % 2]
        logit = drawn.normal(skill * (2 * label - 1), 1.5)
        rows.append(
            {
                "image": f"{k:016x}",
                "patient": f"p{k // 2}",
                "cohort": cohort,
                "kind": ill if label else "normal",
                "part": parts[k // 2 % len(parts)],
                "label": label,
                "logit": f"{logit:.5f}",
                "probability": f"{1 / (1 + np.exp(-(logit / 2 + 0.5))):.6f}",
            }
        )
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def bundle_with_tables(bundle: Path) -> Inputs:
    """A bundle with all tables, but without weights and configs other than the metadata."""
    for folder in ("configs", "docs/predictions"):
        (bundle / folder).mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (bundle / "docs" / "README.md").write_text(f"# Card\n\n{BEGIN}\nlast time\n{END}\n\nrest\n")
    folds, both = [f"fold-{k}" for k in range(5)], ["pediatric", "adult"]
    tables = {
        "cross_validation": synthetic_predictions(1, folds, both),
        "first_model": synthetic_predictions(5, ["test"], ["pediatric"], skill=0.7),
        "test": synthetic_predictions(6, ["test"], ["pediatric"]),
        "validation": synthetic_predictions(7, ["validation"], both),
    }
    for name, rows in tables.items():
        write_predictions(bundle / "docs" / "predictions" / f"{name}.csv", rows)
    write_extra(bundle)
    return Inputs(bundle=bundle, draws=DRAWS)


def write_extra(bundle: Path) -> None:
    """The audit and the tables of the robustness tests."""
    (bundle / FIGURES).write_text(json.dumps(AUDIT))
    for name, extra in EXTRA.items():
        write_table(bundle / "docs" / "predictions" / f"{name}.csv", extra)


def bundle_of_populations(bundle: Path, **release_of: Any) -> Inputs:  # noqa: ANN401
    """A bundle of a synthetic release with several sources, and its chosen operating points."""
    inputs = bundle_with_tables(bundle)
    for path in inputs.tables.glob("*.csv"):
        if path.stem not in EXTRA:
            path.unlink()
    for name, rows in release(**release_of).items():
        write_predictions(inputs.tables / f"{name}.csv", rows, FILM_COLUMNS)
    chosen = choose_populations(inputs)
    (bundle / "configs" / "metadata.json").write_text(json.dumps(chosen))
    return Inputs(bundle=bundle, draws=DRAWS)


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    """Tables of its own for a test that changes them."""
    return bundle_with_tables(tmp_path / "bundle")


@pytest.fixture(scope="module")
def with_populations(tmp_path_factory: pytest.TempPathFactory) -> "Published":
    folder = tmp_path_factory.mktemp("populations")
    inputs = bundle_of_populations(folder / "bundle")
    metrics = write_report(inputs, folder / "docs")
    return Published(inputs=inputs, docs=folder / "docs", metrics=metrics)


@dataclass(frozen=True)
class Published:
    """The report of all tables, written once for the tests that only read it."""

    inputs: Inputs
    docs: Path
    metrics: Mapping[str, Any]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    inputs = bundle_with_tables(folder / "bundle")
    metrics = write_report(inputs, folder / "docs")
    return Published(inputs=inputs, docs=folder / "docs", metrics=metrics)


def written(inputs: Inputs, docs: Path) -> dict[str, bytes]:
    paths = [*docs.rglob("*.*"), inputs.bundle / "docs" / "metrics.json"]
    return {path.name: path.read_bytes() for path in paths}


def test_the_same_tables_give_the_same_bytes(
    inputs: Inputs, published: Published, tmp_path: Path
) -> None:
    first = written(published.inputs, published.docs)
    write_report(inputs, tmp_path / "docs")
    again = written(inputs, tmp_path / "docs")
    assert first == again
    assert first.keys() >= {"evaluation.md", "metrics.json", "roc.svg", "confusion.svg"}


def test_the_page_shows_its_plots_and_has_no_missing_figure(published: Published) -> None:
    text = (published.docs / "evaluation.md").read_text()
    assert "Not a medical device" in text
    assert "Nothing was chosen on the test splits" in text
    assert "not measured" not in text.partition("## Populations and sources")[2]
    assert "None" not in text
    assert "nan" not in text
    shown = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line[:2] == "!["]
    assert sorted(shown) == sorted(f"evaluation/{p.name}" for p in published.docs.glob("*/*.svg"))
    assert len(shown) == 6


def test_a_missing_table_is_reported_as_not_measured(inputs: Inputs, tmp_path: Path) -> None:
    for path in inputs.tables.glob("*.csv"):
        if path.name != "validation.csv":
            path.unlink()
    (inputs.bundle / FIGURES).unlink()
    metrics = write_report(inputs, tmp_path)
    text = (tmp_path / "evaluation.md").read_text()
    for section in ("robustness", "gate", "attention", "shortcuts", "against_first_model"):
        assert metrics[section] is None
    assert "first model" not in text
    assert metrics["sets"]["test"] is None
    assert all(target["reached"] is None for target in metrics["targets"])
    assert text.count("not measured") > len(metrics["targets"])
    assert "## Another abnormality" not in text


def test_predictions_are_scaled_by_the_metadatas_calibration(inputs: Inputs) -> None:
    results = inputs.predictions("test")
    assert results
    rows = inputs.rows("test") or []
    logits = np.array([float(row["logit"]) for row in rows])
    assert results.logits == pytest.approx(logits / 2 + 0.5)
    probabilities = [float(row["probability"]) for row in rows]
    assert results.probabilities == pytest.approx(probabilities, abs=1e-5)


def test_no_image_takes_part_in_its_own_calibration(inputs: Inputs) -> None:
    before = inputs.predictions("cross_validation")
    rows = inputs.rows("cross_validation") or []
    for row in rows:
        if row["part"] == "fold-0":
            row["label"] = str(1 - int(row["label"]))
    write_predictions(inputs.tables / "cross_validation.csv", rows)
    after = inputs.predictions("cross_validation")
    assert isinstance(before, Results)
    assert isinstance(after, Results)
    here = before.parts == "fold-0"
    assert (before.probabilities[here] == after.probabilities[here]).all()
    assert (before.probabilities[~here] != after.probabilities[~here]).all()


def test_each_section_is_computed_from_its_table(inputs: Inputs) -> None:
    found = {name: SECTIONS[name](inputs) for name in ("robustness", "gate", "attention")}
    near = {name: each["within"]["value"] for name, each in found["robustness"].items()}
    assert near == {"JPEG 8 bit": 1.0, "JPEG 2000": 0.5, EVERY_RENDERING: 0.5}
    assert found["robustness"]["JPEG 2000"]["largest"] == pytest.approx(0.1)

    refused = found["gate"]["in-scope"]
    assert refused["all"]["images"] == 300
    assert refused["all"]["refused"] == 1
    assert refused["kinds"]["adults"]["share"]["value"] == 0
    assert 0 < refused["kinds"]["adults"]["share"]["ci95"][1] < 0.05
    assert found["gate"]["out-of-scope"]["all"]["reasons"] == {"far": 9, "not-a-chest": 40}

    assert found["attention"]["concentrated"]["value"] == 0.5
    assert found["attention"]["inside_thorax"]["images"] == 6
    assert found["attention"]["deletion_gain"]["value"] == pytest.approx(0.2)

    corners = SECTIONS["shortcuts"](inputs)["pediatric"]
    assert corners["findings_changed"]["value"] == 0.1
    assert corners["mean_change"] == {"normal": 0, "pneumonia": pytest.approx(-0.1)}


def test_a_better_training_has_a_positive_difference_with_an_interval(inputs: Inputs) -> None:
    against = SECTIONS["against_first_model"](inputs)
    gain = against["auc"]["difference"]
    assert 0 < gain["ci95"][0] < gain["value"] < gain["ci95"][1]
    assert gain["p"] <= 0.05
    assert against["images"] == 240
    assert against["auc"]["delong"]["p"] < 0.001
    assert against["accuracy"]["balanced"]["difference"]["value"] == pytest.approx(
        against["accuracy"]["balanced"]["model"] - against["accuracy"]["balanced"]["first_model"],
        abs=2e-6,
    )


def test_accuracy_rises_with_the_share_abstained(inputs: Inputs) -> None:
    curve = SECTIONS["coverage"](inputs)["test"]
    assert [each["abstained"] for each in curve] == [round(0.05 * k, 2) for k in range(11)]
    assert curve[-1]["accuracy"] > curve[0]["accuracy"]
    whole = SECTIONS["sets"](inputs)["test"]["operating_points"]["balanced"]["accuracy"]["value"]
    assert curve[0]["accuracy"] == pytest.approx(whole)


def test_the_most_confident_errors_are_listed_first_and_without_images(inputs: Inputs) -> None:
    worst = SECTIONS["worst_errors"](inputs)
    missed = [each["probability"] for each in worst["false_negatives"]]
    alarms = [each["probability"] for each in worst["false_positives"]]
    assert missed == sorted(missed)
    assert max(missed) < 0.5 <= min(alarms)
    assert alarms == sorted(alarms, reverse=True)
    assert worst["false_negatives"][0].keys() == {"image", "kind", "probability"}


def test_the_tables_are_written_between_the_model_cards_markers(published: Published) -> None:
    metrics = published.metrics
    card = (published.inputs.bundle / "docs" / "README.md").read_text()
    assert card.startswith("# Card\n")
    assert card.endswith(f"{END}\n\nrest\n")
    assert "last time" not in card
    auc = metrics["sets"]["test"]["overall"]["auc"]
    assert f"{auc['value']:.4f} ({auc['ci95'][0]:.4f} to {auc['ci95'][1]:.4f})" in card


def test_targets_are_compared_with_figures_that_are_not_rounded_up(inputs: Inputs) -> None:
    rows = synthetic_predictions(6, ["test"], ["pediatric"])
    for row in rows:
        row["logit"] = 9 if row["label"] else -9
    rows[1]["logit"] = -9
    write_predictions(inputs.tables / "test.csv", rows)
    metrics = {"sets": SECTIONS["sets"](inputs)}
    from_targets = {each["target"]: each for each in measure(inputs)["targets"]}
    auc = from_targets["children, official test set: AUC"]
    assert auc["value"] == metrics["sets"]["test"]["overall"]["auc"]["value"]
    assert auc["reached"] is True
    assert from_targets["gate: refused of what is in scope"]["reached"] is True
    assert from_targets["children, cross-validation: AUC, mean of five folds"]["reached"] is False


def test_the_page_depends_on_the_published_figures_only(published: Published) -> None:
    metrics = json.loads((published.inputs.bundle / "docs" / "metrics.json").read_text())
    assert page(metrics, [], dict(AUDIT)) == (published.docs / "evaluation.md").read_text()


# --- a release with populations and several heads


def test_the_page_opens_with_what_is_right_and_wrong_in_100_films(
    with_populations: Published,
) -> None:
    text = (with_populations.docs / "evaluation.md").read_text()
    opening = text.partition("\n## ")[0]
    assert opening.index("| population | source | films | right |") < 600
    assert "On adults its findings mean nothing" not in text
    assert "Within-set cross-validation is not evidence" in opening
    counts = count_findings(
        given(with_populations.inputs.films("rsna_test", "adults")),
        with_populations.inputs.default("adults"),
    )
    normal = counts["normal"]
    wrong = 100 * normal["present"] / sum(normal.values())
    [line] = [x for x in opening.splitlines() if x.startswith("| adults | RSNA; test split")]
    assert f"{wrong:.0f} of 100 normal called present" in line
    assert "of 100 with another abnormality called present" in line
    [unknown] = [x for x in opening.splitlines() if x.startswith("| unknown |")]
    assert "| age unknown | yes | Reached: " in unknown
    assert [x for x in opening.splitlines() if x.startswith("| infants | 0 to under 1 | no |")]
    for missing in ("None", "nan", "not measured"):
        assert missing not in text


def given(results: Results | None) -> Results:
    assert results
    return results


def test_every_population_source_and_table_has_its_line(with_populations: Published) -> None:
    found = {(x["population"], x["table"], x["source"]) for x in with_populations.metrics["groups"]}
    assert found >= {
        ("children", "test", "pediatric"),
        ("children", "cross_validation", "pediatric"),
        ("adults", "rsna_test", "rsna2018"),
        ("adults", "measuring", "adult_covid"),
        *(
            ("adults", table, source)
            for table in ("cross_validation", "out_of_source", "validation")
            for source in ("rsna2018", "nlm_shenzhen", "nlm_montgomery")
        ),
    }
    of_rsna = line(with_populations, "out_of_source", "rsna2018")
    assert of_rsna["images"] == 420
    assert of_rsna["auc"]["the rest"]["value"] < of_rsna["auc"]["normal"]["value"]
    assert of_rsna["findings"]["other"]["images"] == 150
    assert of_rsna["calibration_error"]["by_chance"] > 0
    shenzhen = line(with_populations, "cross_validation", "nlm_shenzhen")
    assert shenzhen["auc"] == {}  # tuberculosis: whether there is an opacity is not known
    assert shenzhen["findings"]["abnormal"]["images"] == 60


def line(published: Published, table: str, source: str) -> dict[str, Any]:
    [found] = [
        x for x in published.metrics["groups"] if (x["table"], x["source"]) == (table, source)
    ]
    return dict(found)


def test_another_abnormality_is_measured_against_normal(with_populations: Published) -> None:
    found = line(with_populations, "rsna_test", "rsna2018")["other"]
    assert found["images"] == 150
    assert found["auc"]["value"] > 0.95
    assert found["findings"]["other"]["value"] > 0.5 > found["findings"]["normal"]["value"]
    assert line(with_populations, "test", "pediatric")["other"] is None
    assert "## Another abnormality" in (with_populations.docs / "evaluation.md").read_text()
    card = (with_populations.inputs.bundle / "docs" / "README.md").read_text()
    assert "named on normal films" in card
    assert "of 100 normal called present" in card


def test_adults_of_rsna_are_divided_by_view_sex_and_age(with_populations: Published) -> None:
    found = {(x["table"], x["by"], x["value"]) for x in with_populations.metrics["divided"]}
    for table in ("rsna_test", "cross_validation"):
        groups = {(table, "view", "AP"), (table, "sex", "F"), (table, "age", "40-64")}
        assert groups <= found
    images = [x["images"] for x in with_populations.metrics["divided"] if x["by"] == "view"]
    assert sum(images) == 420 + 210


def test_every_target_of_the_release_is_measured_with_its_films(
    with_populations: Published,
) -> None:
    for target in with_populations.metrics["targets"]:
        assert isinstance(target["reached"], bool), target
        assert target["images"] > 0, target
    by_name = {x["target"]: x for x in with_populations.metrics["targets"]}
    alarms = by_name["RSNA test split, balanced: normal adults called present"]
    low, high = alarms["ci95"]
    assert low <= alarms["value"] <= high
    assert alarms["images"] == 75
    assert alarms["reached"] is (alarms["value"] <= 0.05)


def test_a_release_without_another_abnormality_omits_its_figures(tmp_path: Path) -> None:
    inputs = bundle_of_populations(tmp_path / "bundle", has_other=False)
    metrics = write_report(inputs, tmp_path / "docs")
    assert all(x["other"] is None for x in metrics["groups"])
    text = (tmp_path / "docs" / "evaluation.md").read_text()
    assert "## Another abnormality" not in text
    assert "named on normal films" not in (inputs.bundle / "docs" / "README.md").read_text()
