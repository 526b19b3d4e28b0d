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
from scripts.evaluation.report.page_comparisons import age_groups, first_model, published
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

**On adults its findings mean nothing.** On 452 adults of RSNA, read by radiologists and kept away
from this project, its AUC for a lung opacity is 0.51, which is chance, and it calls 62 % of the
normal ones "present"; of 36 normal adults of another hospital it calls 2 "absent". The AUC of 0.89
on adults in the tables below was a shortcut: the two classes of that set differ by selection. On
its held-out half a linear model of a 16x16 thumbnail reaches an AUC of 0.83, of the grey histogram
alone 0.80, of the mean grey alone 0.74. **Within-set cross-validation is not evidence**: it cannot
see that. Only sets that training never saw can, and the [shortcut audit](#shortcut-audit) looks at
those. Having been trained on pneumonia and on nothing, the model calls other findings pneumonia as
well: metastases on the sample CR are "present" with 98.5 %.

- **Data.** Children of one to five years from one hospital (Kermany et al. 2018) and adults from
  NIH ChestX-ray8 (Wang et al. 2017, as selected by Ozturk et al. 2020). Labels are those of the
  public sets; the adults' were extracted from report texts.
- **Split.** By patient, at random with a fixed seed: a validation part, and five folds of the rest.
  The official test set is separate. The sizes are in the tables. Patients are identified by the
  file names; whether a child is in both the training and the test set is not known (264 patient
  numbers occur in both).
- **Operating point.** Findings are those at `{point}` where no other point is named. Its threshold
  is {threshold:.4f}.
- **Nothing was chosen on the test set.** Network, weights, calibration, thresholds and bands were
  chosen on the training folds and the validation part. Every run on the test set is in the last
  table.
- **Intervals** cover 95 % and come from {draws:,} resamplings of whole patients (seed {seed}),
  those of shares from Wilson's formula. The figures include the images that the gate would refuse.
- **Reproduce** with `make evaluate`. Machine-readable: `monai_bundle/docs/metrics.json`, computed
  from the tables in `monai_bundle/docs/predictions`. Weights: sha256 `{weights}`."""


def page(metrics: dict[str, Any], test_runs: Iterable[dict[str, str]]) -> str:
    """Return the whole page, which depends on the arguments only."""
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
        (
            each["target"],
            each["wanted"],
            number(each["value"], digits=5),
            yes_or_no(each["reached"]),
        )
        for each in metrics["targets"]
    ]
    return table(("figure", "target", "value", "reached"), rows)


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
Cross-validation is out of fold: each radiograph is predicted by a network that was not trained on
its patient. Each fold was calibrated on the other four. The shipped model averages the networks of
the five folds, and is measured on validation and test.

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
        for name, point in found["operating_points"].items() if found else ():
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
        for name, point in found["operating_points"].items() if found else ():
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

The sets of the shipped weights state no view, sex, exact age or device. Figures of RSNA by view and
sex are in the [shortcut audit](#shortcut-audit)."""


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
    "Targets": _targets,
    "Sets": _overall,
    "Folds": _folds,
    "Operating points": _points,
    "Abstaining": _abstaining,
    "Comparison with the first model": first_model,
    "Comparison with published figures": published,
    "Subgroups": _subgroups,
    "One model for children and adults": age_groups,
    "Other renderings of the same radiograph": robustness,
    "Gate": gate,
    "Attention": attention,
    "Marker corners": shortcuts,
    "Shortcut audit": audit,
    "Most confident errors": _worst,
}
