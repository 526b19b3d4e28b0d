"""Write docs/evaluation.md from the figures of docs/metrics.json."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from scripts.evaluation.report.markdown import (
    NOTHING,
    UNKNOWN,
    area,
    cell,
    counts,
    number,
    table,
    yes_or_no,
)
from scripts.evaluation.report.page_comparisons import first_model, published
from scripts.evaluation.report.page_groups import (
    by_population,
    divided,
    opening,
    other_abnormality,
)
from scripts.evaluation.report.page_robustness import attention, gate, robustness, shortcuts
from scripts.evaluation.report.sets import SETS
from scripts.evaluation.shortcuts.page import audit

_FIGURES: Final = ("accuracy", "precision", "sensitivity", "specificity", "f1")
_AREAS: Final = ("auc", "average_precision")
_OVERALL: Final = (*_AREAS, "brier", "calibration_error")
_OF_FOLDS: Final = (*_OVERALL, *_FIGURES)

HEAD: Final = """\
# Evaluation of lobar_pneumonia {version}

**Not a medical device.** The model has not been tested in clinical use, and no figure here applies
to it.

{warning}

{opening}

- **Within-set cross-validation is not evidence.** This project once published an AUC of 0.89 on
  adults that was a shortcut: the two classes of that set differ by selection, and a linear model of
  a 16x16 thumbnail tells them apart (0.83). Only patients, and better sources, that training never
  saw can show what a model knows; the [shortcut audit](#shortcut-audit) looks at that.
- **Data.** The sets, what each finding teaches, and the parts are in the [datasheet](datasheet.md).
  Labels are those of the public sets. Whether a child is in both the training and the test set is
  not known (264 patient numbers occur in both). The networks below the heads for adults were also
  trained on the first set of adults, with labels mined from reports. No table here has films of
  these patients, 51 of whom are in RSNA too, 11 of them in the test split.
- **Operating point.** Findings are those at `{point}`, of the population's own points where it has
  them, where no other point is named.
- **Nothing was chosen on the test splits.** Network, weights, calibration, thresholds and bands
  were chosen on the training folds and the validation part. Every run on a test split is in the
  last table.
- **Intervals** cover 95 % and come from {draws:,} resamplings of whole patients (seed {seed}),
  those of shares from Wilson's formula. The figures include the images that the gate would refuse.
- **Reproduce** with `make evaluate`. Machine-readable: `monai_bundle/docs/metrics.json`, computed
  from the tables in `monai_bundle/docs/predictions`. Weights: sha256 `{weights}`."""
# Of a release whose operating points are not those of populations: version 0.2.0 and before.
ONE_POPULATION: Final = """\
**On adults its findings mean nothing.** On 452 adults of RSNA, read by radiologists and kept away
from this project, its AUC for a lung opacity is 0.51, which is chance, and it calls 62 % of the
normal ones "present". Having been trained on pneumonia and on nothing, it calls other findings
pneumonia as well."""
POPULATIONS: Final = "What it says of which population, and what it gets wrong:"


def page(
    metrics: dict[str, Any],
    test_runs: Iterable[dict[str, str]],
    shortcuts_found: dict[str, Any] | None,
) -> str:
    """Return the whole page, which depends on the arguments only.

    A section is left out where the release has none of its tables.

    Args:
        metrics: the content of docs/metrics.json.
        test_runs: the lines of docs/test_runs.csv.
        shortcuts_found: the content of docs/shortcuts.json, None without one of these weights.
    """
    head = HEAD.format(
        version=metrics["model"]["version"],
        weights=metrics["model"]["weights_sha256"],
        point=metrics["default_operating_point"],
        warning=POPULATIONS if metrics["populations"] else ONE_POPULATION,
        opening=opening(metrics),
        **{key: metrics["bootstrap"][key] for key in ("draws", "seed")},
    )
    parts = [head]
    for title, section in SECTIONS.items():
        if text := section(metrics):
            parts.append(f"## {title}\n\n{text}")
    parts.append(f"## Shortcut audit\n\n{audit(shortcuts_found)}")
    parts.append(f"## Runs on the test splits\n\n{_runs(test_runs)}")
    return "\n\n".join(parts) + "\n"


def _targets(metrics: dict[str, Any]) -> str:
    rows = [
        (
            each["target"],
            each["wanted"],
            _value(each),
            NOTHING if each["images"] is None else f"{each['images']:,}",
            yes_or_no(each["reached"]),
        )
        for each in metrics["targets"]
    ]
    return table(("figure", "target", "value", "films", "reached"), rows)


def _value(target: dict[str, Any]) -> str:
    return cell(target, digits=4) if target["ci95"] else number(target["value"], digits=4)


def _known_sets(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(found["label"], found) for found in metrics["sets"].values() if found]


def _overall(metrics: dict[str, Any]) -> str:
    rows = []
    for label, found in _known_sets(metrics):
        figures = [(area if key in _AREAS else cell)(found["overall"][key]) for key in _OVERALL]
        chance = number(found["calibration_error_by_chance"])
        rows.append((label, counts(found), *figures, chance))
    header = ("set", "images (pneumonia), patients", "AUC", "average precision", "Brier score")
    return f"""\
Cross-validation is out of fold: each radiograph of a child is predicted by a network that was not
trained on its patient, each of an adult by heads that were not fitted to its patient. Each fold was
calibrated on the other four. The shipped model averages the networks of the five folds, has heads
fitted to all of them, and is measured on validation and on the test splits.

{table((*header, "calibration error", "by chance"), rows)}

The calibration error (expected calibration error, ten equal bins) is never negative: exact
probabilities have the error of the last column by chance, and resampling adds to it, so that an
interval may lie above its value.

![ROC curves](evaluation/roc.svg)

![Precision and recall](evaluation/precision_recall.svg)

![Reliability](evaluation/reliability.svg)

![Distribution of the scores](evaluation/scores.svg)"""


def _folds(metrics: dict[str, Any]) -> str:
    found = metrics["folds"]
    rows = []
    for key in _OF_FOLDS:
        cells = [
            f"{number(fold[key]['mean'], digits=4)} ± {number(fold[key]['spread'], digits=4)}"
            if (fold := found[name])
            else UNKNOWN
            for name in ("cross_validation_pediatric", "cross_validation_adult")
        ]
        rows.append((key.replace("_", " "), *cells))
    return "Mean and standard deviation over the folds.\n\n" + table(
        ("figure", "children", "adults"), rows
    )


def _points(metrics: dict[str, Any]) -> str:
    rows = []
    for label, found in _known_sets(metrics):
        for name, point in found["operating_points"].items():
            rows.append((f"`{name}`", label, *[cell(point[key]) for key in _FIGURES]))
    header = ("operating point", "set", "accuracy", "precision", "sensitivity (recall)")
    return f"""\
Over all images; indeterminate ones count by their side of the threshold. The thresholds are the
shipped ones, also in cross-validation.

{table((*header, "specificity", "F1"), rows)}

![Confusion on the test set](evaluation/confusion.svg)"""


def _abstaining(metrics: dict[str, Any]) -> str:
    rows = []
    for label, found in _known_sets(metrics):
        for name, point in found["operating_points"].items():
            low, high = point["indeterminate"]
            band = f"{number(low)} to {number(high)}"
            coverage = f"{1 - point['abstained']['value']:.3f}"
            rows.append((f"`{name}`", label, band, coverage, cell(point["decided_accuracy"])))
    header = ("operating point", "set", "band", "coverage", "accuracy of the decided")
    return f"""\
Between the two limits of the band the model abstains: the finding is `indeterminate`.

{table(header, rows)}

The curve leaves out more and more radiographs, those nearest to the threshold first.

![Accuracy by share abstained](evaluation/coverage.svg)"""


def _subgroups(metrics: dict[str, Any]) -> str | None:
    rows = [
        (
            SETS[name][2],
            f"{kind} against normal",
            f"{found['pneumonia']:,}",
            area(found["auc"]),
            cell(found["sensitivity"]),
        )
        for name, kinds in metrics["subgroups"].items()
        for kind, found in kinds.items()
    ]
    header = ("set", "subgroup", "with pneumonia", "AUC", "sensitivity")
    return table(header, rows) if rows else None


def _worst(metrics: dict[str, Any]) -> str:
    if not (found := metrics["worst_errors"]):
        return UNKNOWN
    rows = [
        (f"`{each['image']}`", each["kind"], number(each["probability"], digits=4))
        for kind in ("false_negatives", "false_positives")
        for each in found[kind]
    ]
    return (
        "The most confident errors on the test set, named by the head of the file's SHA-256. The\n"
        "images are not shown: they are of children.\n\n"
        + table(("image", "labelled", "probability of pneumonia"), rows)
    )


def _runs(test_runs: Iterable[dict[str, str]]) -> str:
    rows = [
        (
            run["date"],
            run["set"],
            run["version"],
            f"`{run['weights_sha256'][:16]}`",
            run["auc"],
            run["accuracy"],
        )
        for run in test_runs
    ]
    if not rows:
        return "Not run yet."
    return table(
        ("date", "set", "version", "weights (sha256)", "AUC", "accuracy at the default"), rows
    )


SECTIONS: Final[dict[str, Callable[[dict[str, Any]], str | None]]] = {
    "Targets": _targets,
    "Populations and sources": by_population,
    "Another abnormality": other_abnormality,
    "By view, sex and age": divided,
    "Sets": _overall,
    "Folds": _folds,
    "Operating points": _points,
    "Abstaining": _abstaining,
    "Bacterial and viral pneumonia": _subgroups,
    "Comparison with the first model": first_model,
    "Comparison with published figures": published,
    "Other renderings of the same radiograph": robustness,
    "Gate": gate,
    "Attention": attention,
    "Marker corners": shortcuts,
    "Most confident errors": _worst,
}
