"""Write the published figures into the model card.

Run `python -m scripts.evaluation.report.model_card` from the bundle's folder. Replaces the text
between the two markers of docs/README.md by tables made from docs/metrics.json, so that no number
is copied by hand. `make evaluate` does it too.
"""

import json
from pathlib import Path
from typing import Any, Final

from scripts.evaluation.report.markdown import UNKNOWN, area, cell, counts, number, table
from scripts.evaluation.report.page_groups import opening, other_abnormality

CARD: Final = Path("docs/README.md")
METRICS: Final = Path("docs/metrics.json")
BEGIN: Final = "<!-- figures: python -m scripts.evaluation.report.model_card -->"
END: Final = "<!-- end of figures -->"
SHOWN: Final = (
    "cross_validation_pediatric",
    "cross_validation_adult",
    "out_of_source_adult",
    "test",
    "rsna_test",
)
_AT_POINT: Final = ("sensitivity", "specificity", "accuracy", "abstained", "decided_accuracy")


def card_tables(metrics: dict[str, Any]) -> str:
    """Return the figures as Markdown tables, values with their 95 % intervals."""
    sets = {found["label"]: found for name in SHOWN if (found := metrics["sets"][name])}
    overall = [(label, counts(found), *_overall(found)) for label, found in sets.items()]
    points = [
        (f"`{name}`", label, *[cell(point[key]) for key in _AT_POINT])
        for label, found in sets.items()
        for name, point in found["operating_points"].items()
    ]
    other = other_abnormality(metrics)
    auc = (metrics["folds"]["cross_validation_pediatric"] or {}).get("auc")
    spread = (
        f"{number(auc['mean'], digits=4)} ± {number(auc['spread'], digits=4)}" if auc else UNKNOWN
    )
    header = ("operating point", "set", "sensitivity", "specificity", "accuracy", "abstained")
    text = f"""\
{opening(metrics)}

{table(("set", "images (pneumonia), patients", "AUC", "Brier score", "calibration error"), overall)}

AUC in the cross-validation of children, mean and spread over the folds: {spread}.

{table((*header, "accuracy of the rest"), points)}"""
    return f"{text}\n\n{other}" if other else text


def _overall(found: dict[str, Any]) -> list[str]:
    figures = found["overall"]
    return [area(figures["auc"]), cell(figures["brier"]), cell(figures["calibration_error"])]


def fill_card(card: Path, metrics: dict[str, Any]) -> None:
    """Write the tables between the markers of `card`.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = card.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{card} lacks the markers of the figures")
    card.write_text(f"{before}{BEGIN}\n\n{card_tables(metrics)}\n\n{END}{after}")


if __name__ == "__main__":
    fill_card(CARD, json.loads(METRICS.read_text()))
