"""Write the report: the figures as JSON, the page with its plots, and the model card's tables."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.evaluation.inputs import Inputs
from scripts.evaluation.report.measure import measure
from scripts.evaluation.report.model_card import fill_card
from scripts.evaluation.report.page import page
from scripts.evaluation.report.plots import draw
from scripts.evaluation.run_log import read_runs
from scripts.evaluation.shortcuts.page import read_figures


def write_report(inputs: Inputs, docs: Path) -> Mapping[str, Any]:
    """Write metrics.json, evaluation.md with its plots into `docs`, and the model card's tables.

    Returns:
        The content of metrics.json.
    """
    metrics = measure(inputs)
    text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (inputs.bundle / "docs" / "metrics.json").write_text(text)
    docs.mkdir(parents=True, exist_ok=True)
    draw(inputs, docs / "evaluation")
    audit = read_figures(inputs.bundle, inputs.metadata["weights"]["sha256"])
    (docs / "evaluation.md").write_text(page(metrics, read_runs(inputs), audit))
    fill_card(inputs.bundle / "docs" / "README.md", metrics)
    return metrics
