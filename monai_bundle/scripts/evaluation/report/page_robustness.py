"""Write the sections of docs/evaluation.md on robustness."""

from typing import Any

from scripts.evaluation.report.markdown import UNKNOWN, cell, number, table


def robustness(metrics: dict[str, Any]) -> str:
    """Return the section on renderings."""
    if not (found := metrics["robustness"]):
        return UNKNOWN
    rows = [
        (
            name,
            f"{each['images']:,}",
            cell(each["within"]),
            number(each["percentile_95"], digits=4),
            number(each["largest"], digits=4),
        )
        for name, each in found.items()
    ]
    header = ("rendering", "images", "within 0.02", "95th percentile", "largest")
    return f"""\
The change of the probability relative to the published file. Target: at most 0.02 for 95 % of the
images.

{table(header, rows)}"""


def gate(metrics: dict[str, Any]) -> str:
    """Return the section on the gate."""
    if not (found := metrics["gate"]):
        return UNKNOWN
    rows = []
    for group, each in found.items():
        for kind, refused in [*each["kinds"].items(), ("**all**", each["all"])]:
            reasons = ", ".join(f"{code} {n:,}" for code, n in refused["reasons"].items())
            sizes = f"{refused['refused']:,} of {refused['images']:,}"
            rows.append((group, kind, sizes, cell(refused["share"]), reasons))
    return f"""\
Target: refuse at most 1 % of the images in scope and at least 95 % of the others. Kinds "held back"
or "never learned from" were not used to train the gate, nor to choose anything of it.

{table(("group", "kind", "refused", "share", "reasons"), rows)}"""


def attention(metrics: dict[str, Any]) -> str:
    """Return the section on the attention map."""
    if not (found := metrics["attention"]):
        return UNKNOWN
    names = {
        "concentrated": "map is concentrated: share of images",
        "inside_thorax": "share of the map inside the thorax",
        "deletion": "deletion, in the map's order",
        "random_deletion": "deletion, in random order",
        "deletion_gain": "deletion: random minus map",
        "insertion": "insertion, in the map's order",
        "random_insertion": "insertion, in random order",
        "insertion_gain": "insertion: map minus random",
    }
    rows = [(label, f"{found[key]['images']:,}", cell(found[key])) for key, label in names.items()]
    return f"""\
Deletion removes the pixels that the map ranks highest, insertion restores them (Petsiuk et al.
2018); the figure is the area under the probability. If the map shows the pixels on which the
probability depends, deletion is smaller and insertion larger than in random order.

{table(("figure", "images", "mean"), rows)}"""


def shortcuts(metrics: dict[str, Any]) -> str:
    """Return the section on the marker corners."""
    if not (found := metrics["shortcuts"]):
        return UNKNOWN
    rows = [
        (
            cohort,
            f"{each['images']:,}",
            number(each["mean_change"]["normal"], digits=4, signed=True),
            number(each["mean_change"]["pneumonia"], digits=4, signed=True),
            number(each["percentile_95"], digits=4),
            cell(each["findings_changed"]),
            f"{number(each['auc_before'])} → {number(each['auc_after'])}",
        )
        for cohort, each in found.items()
    ]
    header = ("cohort", "images", "mean change, normal", "mean change, pneumonia")
    return f"""\
Side markers and burned-in text are in the corners. The same radiographs with the corners covered:

{table((*header, "95th percentile of the change", "findings changed", "AUC"), rows)}"""
