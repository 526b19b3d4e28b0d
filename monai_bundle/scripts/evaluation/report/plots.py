"""Draw the plots of docs/evaluation.md as SVG; the same tables give the same bytes.

Colours are those of Okabe and Ito, "Color Universal Design", 2008, and each line has its own dash
pattern, so that lines can be distinguished in grey and without colour vision.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.data.predictions import Results
from scripts.evaluation.confidence_intervals import DIGITS, wilson_bounds
from scripts.evaluation.inputs import Inputs
from scripts.evaluation.metrics import bin_of, outcomes_at, roc_steps
from scripts.evaluation.populations.names import Population
from scripts.evaluation.report.abstaining import CURVES, coverage_curve
from scripts.evaluation.report.sets import CROSS_VALIDATED, SETS, label, of_name

STYLES: Final[dict[str, dict[str, Any]]] = {
    "test": {"color": "#000000", "linestyle": "-"},
    "cross_validation_pediatric": {"color": "#0072B2", "linestyle": "--"},
    "cross_validation_adult": {"color": "#D55E00", "linestyle": "-."},
    "rsna_test": {"color": "#CC79A7", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
    "out_of_source_adult": {"color": "#009E73", "linestyle": ":"},
}
MEASURED: Final = (*CROSS_VALIDATED, "test", "rsna_test")
MARKS: Final = {"screening": "s", "balanced": "o", "rule_in": "^"}
GROUPS: Final[dict[str, dict[str, Any]]] = {
    "normal": {"color": "#56B4E9", "ls": ":"},
    "other": {"color": "#009E73", "ls": "-."},
    "bacteria": {"color": "#D55E00", "ls": "-"},
    "virus": {"color": "#000000", "ls": "--"},
    "pneumonia": {"color": "#D55E00", "ls": "-"},
}
SETTINGS: Final[dict[Any, Any]] = {
    "svg.hashsalt": "lobar",  # without one, the names of clip paths are random
    "svg.fonttype": "none",  # text stays text: smaller, and searchable
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "path.simplify_threshold": 0.5,
}
_SIDE: Final = 3.2  # inches
_MOST_ABSTAINED: Final = 0.5


def draw(inputs: Inputs, folder: Path) -> list[Path]:
    """Draw every plot into `folder`, in place of those that it contains, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    drawn = []
    with mpl.rc_context(SETTINGS):
        for name, plot in PLOTS.items():
            path = folder / f"{name}.svg"
            # without date and version of matplotlib, so that the bytes depend on the figures only
            plot(inputs).savefig(path, metadata={"Date": None, "Creator": None})
            drawn.append(path)
    return drawn


def _sets(inputs: Inputs, *names: str) -> Iterator[tuple[str, Results]]:
    for name in names:
        if results := of_name(inputs, name):
            yield name, results


def _figure(columns: int = 1, width: float = _SIDE, height: float = _SIDE) -> tuple[Figure, Any]:
    figure = Figure(figsize=(columns * width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _legend(axis: Axes, place: Literal["upper center", "lower left", "lower right"]) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc=place, fontsize=7)


def roc(inputs: Inputs) -> Figure:
    """Draw the ROC curves and their upper left corner, with the test set's operating points."""
    figure, axes = _figure(2)
    for name, results in _sets(inputs, *STYLES):
        positives, negatives = (
            steps[0] for steps in roc_steps(results.labels, results.logits, results.unit_weights())
        )
        for axis in axes:
            axis.plot(
                negatives / negatives[-1],
                positives / positives[-1],
                label=label(name, results),
                **STYLES[name],
            )
    for axis in axes:
        _mark_points(inputs, axis, lambda c: (1 - c["specificity"], c["sensitivity"]))
        axis.set(xlabel="1 - specificity", ylabel="sensitivity")
    axes[0].set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[1].set(xlim=(-0.005, 0.3), ylim=(0.7, 1.005))
    _legend(axes[0], "lower right")
    return figure


def precision_recall(inputs: Inputs) -> Figure:
    """Draw precision against recall."""
    figure, (axis,) = _figure()
    for name, results in _sets(inputs, *STYLES):
        positives, negatives = (
            steps[0] for steps in roc_steps(results.labels, results.logits, results.unit_weights())
        )
        called = positives[1:] + negatives[1:]
        axis.plot(
            positives[1:] / positives[-1],
            positives[1:] / called,
            label=label(name, results),
            **STYLES[name],
        )
    _mark_points(inputs, axis, lambda c: (c["sensitivity"], c["precision"]))
    axis.set(xlabel="recall (sensitivity)", ylabel="precision", xlim=(0, 1.02), ylim=(0.2, 1.02))
    _legend(axis, "lower left")
    return figure


def _mark_points(
    inputs: Inputs, axis: Axes, place: Callable[[dict[str, float]], tuple[float, float]]
) -> None:
    for _, results in _sets(inputs, "test"):
        for name, point in inputs.points(Population.CHILDREN).items():
            n = {key: int(mask.sum()) for key, mask in outcomes_at(results, point).items()}
            tp, fp = n["true_positives"], n["false_positives"]
            figures = {
                "sensitivity": tp / max(1, tp + n["false_negatives"]),
                "specificity": n["true_negatives"] / max(1, n["true_negatives"] + fp),
                "precision": tp / max(1, tp + fp),
            }
            x, y = place(figures)
            marker = MARKS.get(name, "x")
            style: dict[str, Any] = {"color": "#000000", "fillstyle": "none", "clip_on": False}
            axis.plot(x, y, marker, label=f"test, {name}", **style)


def reliability(inputs: Inputs) -> Figure:
    """Draw the share of pneumonia against the mean probability, by bin."""
    sets = list(_sets(inputs, *MEASURED))
    figure, axes = _figure(max(1, len(sets)), width=2.6, height=2.8)
    for axis, (name, results) in zip(axes, sets, strict=False):
        axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
        axis.set(title=label(name, results), xlabel="probability", xlim=(0, 1), ylim=(0, 1))
        bins = bin_of(results.probabilities)
        for place in np.unique(bins):
            said, positives = results.probabilities[bins == place], results.labels[bins == place]
            bounds = wilson_bounds(int(positives.sum()), len(positives))
            low, high = (round(bound, DIGITS) for bound in bounds)
            axis.plot([said.mean()] * 2, [low, high], color=STYLES[name]["color"])
            size = 2 + 6 * np.sqrt(len(positives) / len(bins))
            style = {"color": STYLES[name]["color"], "markersize": size, "clip_on": False}
            axis.plot(said.mean(), positives.mean(), "o", **style)
    axes[0].set_ylabel("share with pneumonia")
    return figure


def confusion(inputs: Inputs) -> Figure:
    """Draw the confusion matrix of the children's test set at each operating point."""
    points = inputs.points(Population.CHILDREN)
    figure, axes = _figure(len(points), width=2.1, height=2.3)
    rows = (("true_negatives", "false_positives"), ("false_negatives", "true_positives"))
    for axis, (name, point) in zip(axes, points.items(), strict=True):
        axis.set(title=name, xticks=[0, 1], yticks=[0, 1], xlabel="finding")
        axis.set_xticklabels(["absent", "present"])
        axis.set_yticklabels(["normal", "pneumonia"], rotation=90, va="center")
        for _, results in _sets(inputs, "test"):
            found = outcomes_at(results, point)
            counts = np.array([[int(found[key].sum()) for key in row] for row in rows])
            shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
            axis.pcolormesh(
                [-0.5, 0.5, 1.5], [-0.5, 0.5, 1.5], shares, cmap="Greys", vmin=0, vmax=2.5
            )
            for (y, x), count in np.ndenumerate(counts):
                axis.text(x, y, f"{count}\n{shares[y, x]:.3f}", ha="center", va="center")
        axis.invert_yaxis()
    return figure


def scores(inputs: Inputs) -> Figure:
    """Draw the distribution of the scaled logits of each group."""
    sets = list(_sets(inputs, *MEASURED))
    figure, axes = _figure(max(1, len(sets)), width=2.6, height=2.4)
    edges = np.linspace(-12, 12, 49)
    for axis, (name, results) in zip(axes, sets, strict=False):
        for kind, style in GROUPS.items():
            mask = results.kinds == kind
            if mask.any():
                counts, _ = np.histogram(np.clip(results.logits[mask], -12, 12), edges)
                axis.stairs(counts / mask.sum(), edges, label=kind, **style)
        for point in inputs.points(SETS[name][1]).values():
            threshold = np.log(point["threshold"] / (1 - point["threshold"]))
            axis.axvline(threshold, color="#999999", linewidth=0.6)
        axis.set(title=label(name, results), xlabel="logit of the probability")
        axis.set_ylim(0, 1.5 * axis.get_ylim()[1])  # space for the legend
        _legend(axis, "upper center")
    axes[0].set_ylabel("share of the group")
    return figure


def coverage(inputs: Inputs) -> Figure:
    """Draw the accuracy of the decided images against the share abstained."""
    figure, (axis,) = _figure(width=3.8, height=2.8)
    for name, results in _sets(inputs, *CURVES):
        threshold = inputs.default(SETS[name][1])["threshold"]
        curve = coverage_curve(results, threshold)
        kept = np.arange(len(curve)) / len(curve)
        shown = kept <= _MOST_ABSTAINED
        axis.plot(kept[shown], curve[shown], label=label(name, results), **STYLES[name])
    axis.set(xlabel="share abstained", ylabel="accuracy of the decided", xlim=(0, _MOST_ABSTAINED))
    _legend(axis, "lower right")
    return figure


PLOTS: Final[dict[str, Callable[[Inputs], Figure]]] = {
    "roc": roc,
    "precision_recall": precision_recall,
    "reliability": reliability,
    "confusion": confusion,
    "scores": scores,
    "coverage": coverage,
}
