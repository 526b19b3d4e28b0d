"""docs/evaluation.md: the figures of docs/metrics.json in words and tables."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from scripts.evaluation.report.markdown import (
    NOTHING,
    UNKNOWN,
    answer,
    area,
    cell,
    counts,
    number,
    table,
)
from scripts.evaluation.report.page_bounds import attention, gate, robustness, shortcuts
from scripts.evaluation.report.page_comparisons import age_groups, first_model, published
from scripts.evaluation.report.sets import SETS

_FIGURES: Final = ("accuracy", "precision", "sensitivity", "specificity", "f1")
_AREAS: Final = ("auc", "average_precision")
_OVERALL: Final = (*_AREAS, "brier", "calibration_error")
_OF_FOLDS: Final = (*_OVERALL, *_FIGURES)

HEAD: Final = """\
# Evaluation of lobar_pneumonia {version}

**Not a medical device.** Nobody has tried it in clinical use, and no figure here says what it would
be worth there.

- **Data.** Children of one to five years from one hospital (Kermany et al. 2018) and adults out of
  NIH ChestX-ray8 (Wang et al. 2017, as selected by Ozturk et al. 2020). Labels are those of the
  public sets; the adults' were mined from report texts.
- **Split.** By patient, drawn with a seed: a validation part, and five folds of the rest. The
  official test set is apart. The sizes are in the tables. Patients are those of the file names;
  whether a child is in both the training and the test set is not known (264 patient numbers occur
  in both).
- **Operating point.** Findings are those at `{point}` where no other point is named. Its threshold
  is {threshold:.4f}.
- **The test set chose nothing.** Network, weights, calibration, thresholds and bands were chosen on
  training and validation folds. Every run on the test set is in the last table.
- **Intervals** hold 95 % and come from {draws:,} resamplings of whole patients (seed {seed}), those
  of plain shares from Wilson's formula. The figures are of all images, also of those that the gate
  would refuse.
- **Make it anew** with `make evaluate`. Machine-readable: `monai_bundle/docs/metrics.json`, made of
  the tables in `monai_bundle/docs/predictions`. Weights: sha256 `{weights}`."""


def page(metrics: dict[str, Any], test_runs: Iterable[dict[str, str]]) -> str:
    """Give the whole page. It is a function of its arguments and of nothing else."""
    point = metrics["default_operating_point"]
    some_set = next(found for found in metrics["sets"].values() if found)
    head = HEAD.format(
        version=metrics["model"]["version"],
        weights=metrics["model"]["weights_sha256"],
        point=point,
        threshold=some_set["operating_points"][point]["threshold"],
        **{key: metrics["bootstrap"][key] for key in ("draws", "seed")},
    )
    parts = [head]
    for title, section in SECTIONS.items():
        parts.append(f"## {title}\n\n{section(metrics)}")
    parts.append(f"## Runs on the test set\n\n{_runs(test_runs)}")
    return "\n\n".join(parts) + "\n"


def _targets(metrics: dict[str, Any]) -> str:
    rows = [
        (each["target"], each["wanted"], number(each["value"], digits=5), answer(each["reached"]))
        for each in metrics["targets"]
    ]
    return table(("target", "wanted", "got", "reached"), rows)


def _known_sets(metrics: dict[str, Any]) -> list[tuple[str, dict[str, Any] | None]]:
    return [(label, metrics["sets"][name]) for name, (_, _, label) in SETS.items()]


def _overall(metrics: dict[str, Any]) -> str:
    rows = []
    for label, found in _known_sets(metrics):
        if not found:
            rows.append((label, UNKNOWN, *[NOTHING] * 5))
            continue
        figures = [(area if key in _AREAS else cell)(found["overall"][key]) for key in _OVERALL]
        chance = number(found["calibration_error_by_chance"])
        rows.append((label, counts(found), *figures, chance))
    header = ("set", "images (pneumonia), patients", "AUC", "average precision", "Brier score")
    return f"""\
Cross-validation is out of fold: each radiograph by a network that saw no other radiograph of its
patient. Each fold was calibrated on the other four. What ships reads with the five networks of
the folds together, and is measured on validation and test.

{table((*header, "calibration error", "by chance"), rows)}

The calibration error (expected calibration error, ten equal bins) is never negative: even exact
probabilities show the last column by chance, and resampling adds to it, so that an interval may lie
above its value.

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
        for name, point in found["operating_points"].items() if found else ():
            rows.append((f"`{name}`", label, *[cell(point[key]) for key in _FIGURES]))
    header = ("operating point", "set", "accuracy", "precision", "sensitivity (recall)")
    return f"""\
Over all images, the indeterminate ones counted by the side of the threshold they are on. The
thresholds are the shipped ones, in cross-validation too.

{table((*header, "specificity", "F1"), rows)}

![Confusion on the test set](evaluation/confusion.svg)"""


def _abstaining(metrics: dict[str, Any]) -> str:
    rows = []
    for label, found in _known_sets(metrics):
        for name, point in found["operating_points"].items() if found else ():
            low, high = point["indeterminate"]
            band = f"{number(low)} to {number(high)}"
            coverage = f"{1 - point['abstained']['value']:.3f}"
            rows.append((f"`{name}`", label, band, coverage, cell(point["decided_accuracy"])))
    header = ("operating point", "set", "band", "coverage", "accuracy of the decided")
    return f"""\
Between the two ends of its band the model abstains: the finding is `indeterminate`.

{table(header, rows)}

The curve gives up ever more radiographs, nearest to the threshold first.

![Accuracy by share abstained](evaluation/coverage.svg)"""


def _subgroups(metrics: dict[str, Any]) -> str:
    rows = []
    for name, kinds in metrics["subgroups"].items():
        for kind, found in kinds.items():
            sizes = f"{found['pneumonia']:,}" if found else UNKNOWN
            auc, sensitivity = (found or {}).get("auc"), (found or {}).get("sensitivity")
            label = f"{kind} against normal"
            rows.append((SETS[name][2], label, sizes, area(auc), cell(sensitivity)))
    for name, label in (("pediatric", "children"), ("adult", "adults")):
        found = metrics["sets"][f"cross_validation_{name}"]
        at = found["operating_points"][metrics["default_operating_point"]] if found else {}
        sizes = f"{found['pneumonia']:,}" if found else UNKNOWN
        auc = area(found["overall"]["auc"]) if found else NOTHING
        rows.append(("cross-validation", label, sizes, auc, cell(at.get("sensitivity"))))
    header = ("set", "subgroup", "with pneumonia", "AUC", "sensitivity")
    return f"""\
{table(header, rows)}

By view (PA or AP) nothing can be said: the public sets do not tell the view of a radiograph. Nor do
they tell sex, exact age or device."""


def _worst(metrics: dict[str, Any]) -> str:
    if not (found := metrics["worst_errors"]):
        return UNKNOWN
    rows = [
        (f"`{each['image']}`", each["kind"], number(each["probability"], digits=4))
        for kind in ("false_negatives", "false_positives")
        for each in found[kind]
    ]
    return (
        "The most confident errors on the test set, by the head of the file's SHA-256. The\n"
        "pictures are not shown: they are of children.\n\n"
        + table(("image", "labelled", "probability of pneumonia"), rows)
    )


def _runs(test_runs: Iterable[dict[str, str]]) -> str:
    rows = [
        (
            run["date"],
            run["version"],
            f"`{run['weights_sha256'][:16]}`",
            run["auc"],
            run["accuracy"],
        )
        for run in test_runs
    ]
    if not rows:
        return "Not run yet."
    return table(("date", "version", "weights (sha256)", "AUC", "accuracy at the default"), rows)


SECTIONS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "What was asked for": _targets,
    "Sets": _overall,
    "Folds": _folds,
    "Operating points": _points,
    "Abstaining": _abstaining,
    "Against the first model": first_model,
    "Against published figures": published,
    "Subgroups": _subgroups,
    "One model for children and adults": age_groups,
    "The same radiograph in other renderings": robustness,
    "What the gate refuses": gate,
    "Where it looks": attention,
    "Marker corners": shortcuts,
    "Worst errors": _worst,
}
