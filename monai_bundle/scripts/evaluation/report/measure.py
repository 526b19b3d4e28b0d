"""Compute all figures of the report as one JSON object, docs/metrics.json."""

from collections.abc import Callable
from typing import Any, Final

from tqdm import tqdm

from scripts.evaluation.inputs import Inputs
from scripts.evaluation.report.cohorts import adults, children, coverage, worst_errors
from scripts.evaluation.report.robustness import attention, gate, robustness, shortcuts
from scripts.evaluation.report.sets import against_first_model, folds, sets, subgroups
from scripts.evaluation.report.targets import targets
from scripts.evaluation.shortcuts.page import read_figures


def shortcut_audit(inputs: Inputs) -> dict[str, Any] | None:
    """Return the figures of `scripts.evaluation.shortcuts` for the shipped weights."""
    return read_figures(inputs.bundle, inputs.metadata["weights"]["sha256"])


SECTIONS: Final[dict[str, Callable[[Inputs], Any]]] = {
    "sets": sets,
    "folds": folds,
    "subgroups": subgroups,
    "against_first_model": against_first_model,
    "adults": adults,
    "children": children,
    "coverage": coverage,
    "robustness": robustness,
    "gate": gate,
    "attention": attention,
    "shortcuts": shortcuts,
    "shortcut_audit": shortcut_audit,
    "worst_errors": worst_errors,
}


def measure(inputs: Inputs) -> dict[str, Any]:
    """Compute the figures by section; None for a section whose table is missing."""
    found: dict[str, Any] = {
        "model": {
            "version": inputs.metadata["version"],
            "weights_sha256": inputs.metadata["weights"]["sha256"],
        },
        "bootstrap": {"unit": "patient", "draws": inputs.draws, "seed": inputs.seed},
        "default_operating_point": inputs.default_point,
    }
    shown = tqdm(SECTIONS.items(), desc="figures", unit="section", ncols=80)
    for name, section in shown:
        shown.set_postfix_str(name)
        found[name] = section(inputs)
    found["targets"] = targets(found)
    return found
