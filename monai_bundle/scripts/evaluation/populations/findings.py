"""Count the findings of films by what the films show, and rank them."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.categories import Category
from scripts.data.predictions import Results
from scripts.evaluation.metrics import auc

CATEGORIES: Final = (Category.OPACITY, Category.OTHER, Category.NORMAL, Category.ABNORMAL)
FINDINGS: Final = ("present", "indeterminate", "absent")
# What an opacity is told apart from, by the name of the figure.
AGAINST: Final[Mapping[str, tuple[Category, ...]]] = {
    "the rest": (Category.NORMAL, Category.OTHER),
    "normal": (Category.NORMAL,),
    "other": (Category.OTHER,),
}


def findings(results: Results, point: Mapping[str, Any]) -> NDArray[np.str_]:
    """Return the finding of each film, as postprocessing's `finding_at` decides it."""
    low, high = point["indeterminate"]
    is_decided = (results.probabilities <= low) | (results.probabilities >= high)
    side = np.where(results.probabilities >= point["threshold"], "present", "absent")
    return np.where(is_decided, side, "indeterminate")


def count_findings(results: Results, point: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return for each category that there is how many films have which finding."""
    found = findings(results, point)
    return {
        category.value: {
            name: int(((results.categories == category) & (found == name)).sum())
            for name in FINDINGS
        }
        for category in CATEGORIES
        if (results.categories == category).any()
    }


def share(counts: Mapping[str, Mapping[str, int]], category: str, finding: str) -> float | None:
    """Return the share of a category's films with a finding; None without such films."""
    of_category = counts.get(category)
    return of_category[finding] / sum(of_category.values()) if of_category else None


def against(results: Results, categories: tuple[Category, ...]) -> Results:
    """Return the films with an opacity and those of the categories named."""
    return results.take(np.isin(results.categories, [Category.OPACITY, *categories])).labelled()


def area_against(results: Results, categories: tuple[Category, ...]) -> float | None:
    """Return the AUC of the opacity against other categories; None where one side is missing."""
    kept = against(results, categories)
    return auc(kept.labels, kept.logits) if len(np.unique(kept.labels)) == 2 else None  # noqa: PLR2004
