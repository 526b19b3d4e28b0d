"""The sections of docs/evaluation.md on how far the model can be trusted."""

from typing import Any

from scripts.evaluation.report.markdown import UNKNOWN, cell, number, table


def robustness(metrics: dict[str, Any]) -> str:
    """Give how far the probability moves from rendering to rendering."""
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
The change of probability against the file as published. Wanted: at most 0.02 on 95 % of the images.

{table(header, rows)}"""


def gate(metrics: dict[str, Any]) -> str:
    """Give what is refused, wrongly and rightly."""
    if not (found := metrics["gate"]):
        return UNKNOWN
    rows = []
    for group, each in found.items():
        for kind, refused in [*each["kinds"].items(), ("**all**", each["all"])]:
            reasons = ", ".join(f"{code} {n:,}" for code, n in refused["reasons"].items())
            sizes = f"{refused['refused']:,} of {refused['images']:,}"
            rows.append((group, kind, sizes, cell(refused["share"]), reasons))
    return f"""\
Wanted: at most 1 % of what is in scope (false refusals), at least 95 % of what is not.

{table(("group", "kind", "refused", "share", "reasons"), rows)}"""


def attention(metrics: dict[str, Any]) -> str:
    """Give where the map lies and whether it matters."""
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
Deletion takes away what the map ranks highest, insertion brings it (Petsiuk et al. 2018): the area
under the probability. A map that points at what matters makes the deletion smaller and the
insertion larger than a random order does.

{table(("figure", "images", "mean"), rows)}"""


def shortcuts(metrics: dict[str, Any]) -> str:
    """Give what blotting out the corners changes."""
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
Side markers and burned-in text stand in the corners. The same radiographs with the corners blotted
out:

{table((*header, "95th percentile of the change", "findings changed", "AUC"), rows)}"""
