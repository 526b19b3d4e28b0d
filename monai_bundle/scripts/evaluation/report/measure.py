"""Compute all figures of the report as one JSON object, docs/metrics.json."""

from collections.abc import Callable
from typing import Any, Final

from tqdm import tqdm

from scripts.evaluation.inputs import Inputs
from scripts.evaluation.report.abstaining import coverage, worst_errors
from scripts.evaluation.report.groups import divided, groups
from scripts.evaluation.report.robustness import attention, gate, robustness, shortcuts
from scripts.evaluation.report.sets import against_first_model, folds, sets, subgroups
from scripts.evaluation.report.targets import targets


def populations(inputs: Inputs) -> dict[str, Any] | None:
    """Return which population is validated, and why; None for a bundle without populations."""
    if not inputs.has_populations:
        return None
    return {
        name: {key: entry[key] for key in ("years", "validated", "reason")}
        for name, entry in inputs.metadata["populations"].items()
    }


SECTIONS: Final[dict[str, Callable[[Inputs], Any]]] = {
    "populations": populations,
    "groups": groups,
    "divided": divided,
    "sets": sets,
    "folds": folds,
    "subgroups": subgroups,
    "against_first_model": against_first_model,
    "coverage": coverage,
    "robustness": robustness,
    "gate": gate,
    "attention": attention,
    "shortcuts": shortcuts,
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
