"""Write the sections of docs/evaluation.md that compare the model with others."""

from typing import Any

from scripts.evaluation.report.markdown import cell, number, p_value, table
from scripts.evaluation.report.targets import PUBLISHED


def first_model(metrics: dict[str, Any]) -> str | None:
    """Return the section on model 0.1.0; None without its table, first_model.csv."""
    if not (found := metrics["against_first_model"]):
        return None
    auc = found["auc"]
    rows = [("AUC", *_against(auc, digits=4))]
    rows += [(f"accuracy, `{name}`", *_against(each)) for name, each in found["accuracy"].items()]
    test = auc["delong"]
    change = number(test["difference"], digits=4, signed=True)
    error, z = number(test["standard_error"], digits=4), number(test["z"], digits=2)
    p = p_value(test["p"])
    return f"""\
Model {found["version"]} on the same {found["images"]} images of the official test set, each model
at its own thresholds.

{table(("figure", "this model", "first model", "difference", "p"), rows)}

p is that of the paired bootstrap by patient. DeLong's test of the AUCs (fast algorithm of Sun and
Xu 2014) assumes independent images: difference {change}, standard error {error}, z {z}, p {p}."""


def _against(found: dict[str, Any], *, digits: int = 3) -> list[str]:
    change = found["difference"]
    return [
        *(number(found[key], digits=digits) for key in ("model", "first_model")),
        cell(change, digits=digits, signed=True),
        p_value(change["p"]),
    ]


def published(metrics: dict[str, Any]) -> str:
    """Return the section on published figures of the same test set."""
    rows = []
    if found := metrics["sets"]["test"]:
        for name, point in found["operating_points"].items():
            at = [number(point[k]["value"]) for k in ("accuracy", "sensitivity", "specificity")]
            auc = number(found["overall"]["auc"]["value"], digits=4)
            rows.append(
                (f"**this model, `{name}`**", auc, *at, "Threshold not chosen on the test set.")
            )
    for other in PUBLISHED:
        keys = ("auc", "accuracy", "sensitivity", "specificity")
        rows.append((other["source"], *[number(other.get(k)) for k in keys], other["comparable"]))
    return "Published figures of the official test set.\n\n" + table(
        ("source", "AUC", "accuracy", "sensitivity", "specificity", "comparable?"), rows
    )
