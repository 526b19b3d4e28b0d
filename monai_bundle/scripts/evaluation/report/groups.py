"""Compute what the model finds, by population and source, and by view, sex and age.

A line is a table's films of one source: how many of each category were called present,
indeterminate and absent at the default operating point, how an opacity ranks above the rest, and
how another abnormality ranks above normal, where the network has a logit for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.adult_sets import AGE_GROUPS
from scripts.data.predictions import FloatArray, Results
from scripts.evaluation.confidence_intervals import rounded, wilson, with_intervals
from scripts.evaluation.inputs import OUT_OF_FOLD, OUT_OF_SOURCE, Inputs
from scripts.evaluation.metrics import calibration_error_by_chance, calibration_errors, ranking
from scripts.evaluation.populations.findings import AGAINST, CATEGORIES, against, count_findings
from scripts.evaluation.populations.names import COHORTS, Population
from scripts.evaluation.report.sets import CHANCE_DRAWS

# By table: what its films are to the network that read them. First what was never seen.
TABLES: Final[Mapping[str, str]] = {
    "test": "test split, this model",
    "rsna_test": "test split, this model",
    "measuring": "source never trained on, this model",
    OUT_OF_SOURCE: "source never trained on, a training without it",
    OUT_OF_FOLD: "patients never trained on, trainings without them",
    "validation": "chosen on, this model",
}
DIVIDED: Final = ("rsna_test", OUT_OF_FOLD)  # tables divided by view, sex and age
READ: Final = "rsna2018"  # the source of adults of which view, sex and age are known
LEAST: Final = 10  # films of each label: with fewer, an area says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table's films of a population, and those for the question of another abnormality."""

    population: str
    films: Results
    other: Results | None


def _read(inputs: Inputs, name: str, population: str) -> _Table | None:
    films = inputs.films(name, population)
    if films is None:
        return None
    return _Table(population=population, films=films, other=inputs.other(name, population))


def groups(inputs: Inputs) -> list[dict[str, Any]]:
    """Return the lines of every table, population and source."""
    return [
        {
            "population": str(population),
            "table": name,
            "source": str(source),
            **_of(inputs, table, table.films.sources == source),
        }
        for population in COHORTS
        for name in TABLES
        if (table := _read(inputs, name, population))
        for source in np.unique(table.films.sources)
    ]


def divided(inputs: Inputs) -> list[dict[str, Any]]:
    """Return the lines of the adults of RSNA by view, sex and age group."""
    found = []
    for name in DIVIDED:
        table = _read(inputs, name, Population.ADULTS)
        if not table:
            continue
        films = table.films
        for title, values, known in (
            ("view", films.views, ("AP", "PA")),
            ("sex", films.sexes, ("F", "M")),
            ("age", films.age_groups, AGE_GROUPS),
        ):
            for value in known:
                mask = (films.sources == READ) & (values == value)
                if mask.any():
                    line = _of(inputs, table, mask)
                    found.append({"table": name, "by": title, "value": value, **line})
    return found


def _of(inputs: Inputs, table: _Table, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the figures of the films of a table where a mask is true."""
    films = table.films.take(mask)
    counts = count_findings(films, inputs.default(table.population))
    return {
        "images": len(films.images),
        "patients": len(np.unique(films.patients)),
        "findings": {
            category: {
                "images": sum(found.values()),
                **{key: wilson(hits, sum(found.values())) for key, hits in found.items()},
            }
            for category, found in counts.items()
        },
        "auc": _areas(inputs, films),
        "calibration_error": _calibration(inputs, films),
        "other": _of_other(inputs, table, films),
    }


def _has_both(results: Results) -> bool:
    positive = int((results.labels == 1).sum())
    return min(positive, len(results.labels) - positive) >= LEAST


def _interval(inputs: Inputs, results: Results, name: str, metric: Any) -> Any:  # noqa: ANN401 -- a figure
    return with_intervals(results, metric, draws=inputs.draws, seed=inputs.seed)[name]


def _ranking(results: Results, weights: FloatArray) -> dict[str, FloatArray]:
    return ranking(results.labels, results.logits, weights)


def _areas(inputs: Inputs, films: Results) -> dict[str, Any]:
    asked = {name: against(films, categories) for name, categories in AGAINST.items()}
    return {
        name: _interval(inputs, results, "auc", _ranking)
        for name, results in asked.items()
        if _has_both(results)
    }


def _calibration(inputs: Inputs, films: Results) -> dict[str, Any] | None:
    known = films.labelled()
    if not _has_both(known):
        return None
    by_chance = calibration_error_by_chance(known, draws=CHANCE_DRAWS, seed=inputs.seed)
    return {
        **_interval(inputs, known, "calibration_error", _error),
        "by_chance": rounded(by_chance),
    }


def _error(results: Results, weights: FloatArray) -> dict[str, FloatArray]:
    return {"calibration_error": calibration_errors(results, weights)}


def _of_other(inputs: Inputs, table: _Table, films: Results) -> dict[str, Any] | None:
    """Return the figures of another abnormality against normal, None without such a logit."""
    entry = inputs.entry(table.population).get("other_abnormality")
    asked = table.other and table.other.take(np.isin(table.other.images, films.images))
    if not entry or not asked or not _has_both(asked):
        return None
    point = entry["operating_points"][inputs.default_point]
    counts = count_findings(asked, point)
    return {
        "images": len(asked.images),
        "auc": _interval(inputs, asked, "auc", _ranking),
        "findings": {
            category.value: wilson(counts[category]["present"], sum(counts[category].values()))
            for category in CATEGORIES
            if category in counts
        },
        "calibration_error": _calibration(inputs, asked),
    }
