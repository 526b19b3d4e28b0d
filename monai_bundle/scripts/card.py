"""Put the published figures into the model card: python -m scripts.card.

Replaces what stands between the two markers of docs/README.md by tables made from
docs/metrics.json, so that nobody copies a number by hand.
"""

import json
from pathlib import Path
from typing import Any, Final

CARD: Final = Path("docs/README.md")
METRICS: Final = Path("docs/metrics.json")
BEGIN: Final = "<!-- figures: python -m scripts.card -->"
END: Final = "<!-- end of figures -->"
SETS: Final = {
    "validation": "validation (chosen on)",
    "test": "official test set",
    "adult": "adults, out of distribution",
}


def tables(metrics: dict[str, Any]) -> str:
    """Give the figures as two Markdown tables, values with their 95 % intervals."""
    lines = [
        "| set | images (pneumonia), patients | AUC | Brier score | calibration error |",
        "|---|---|---|---|---|",
    ]
    for part, name in SETS.items():
        found = metrics[part]
        counts = f"{found['images']} ({found['pneumonia']}), {found['patients']}"
        figures = [_cell(found["overall"][key]) for key in ("auc", "brier", "calibration_error")]
        lines.append(f"| {name} | {counts} | {' | '.join(figures)} |")
    keys = ("sensitivity", "specificity", "accuracy", "abstained", "decided_accuracy")
    lines += [
        "",
        (
            "| operating point, set | sensitivity | specificity | accuracy | abstained | accuracy "
            "of the rest |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for point in metrics["test"]["operating_points"]:
        for part in SETS:
            found = metrics[part]["operating_points"][point]
            lines.append(f"| {point}, {part} | {' | '.join(_cell(found[key]) for key in keys)} |")
    return "\n".join(lines)


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["ci95"]
    return f"{figure['value']:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    before, rest = CARD.read_text().split(BEGIN)
    after = rest.split(END)[1]
    made = tables(json.loads(METRICS.read_text()))
    CARD.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")
