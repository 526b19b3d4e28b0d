"""Decide from the figures whether a population's findings are reported, and say why in a sentence.

The bounds for adults are those of the project (issue 12, point 4). For children its goal of an area
of 0.998 is no bound for a report: findings are reported from 0.99 on, above every published figure
of a model that others could reproduce. Everything is measured on films that did not choose the
weights that read them nor, in the folds, the calibration. Operating points were chosen on the same
films as the shares of normal films and of opacities; the reasons say so. The test splits take no
part. What was not measured is not reached. Without a usable age a finding is reported where the
cautious reading keeps, in every population, its share of normal films called present and of
opacities called absent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from scripts.data.categories import Category
from scripts.data.predictions import Results
from scripts.evaluation.metrics import overall
from scripts.evaluation.populations.findings import AGAINST, area_against, count_findings, share
from scripts.evaluation.populations.names import CHOSEN_ON, Population

PRESENT, ABSENT = "present", "absent"
LEAST_IMAGES: Final = 20  # of a kind: a share of fewer films says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A figure and its bound."""

    figure: str
    value: float | None
    bound: float
    is_least: bool  # else the bound is the most that is allowed
    images: int

    @property
    def is_reached(self) -> bool:
        """Whether the figure was measured and is within its bound."""
        if self.value is None:
            return False
        return self.value >= self.bound if self.is_least else self.value <= self.bound

    def described(self) -> str:
        """Return the figure with its bound in words."""
        value = "not measured" if self.value is None else f"{self.value:.3f}"
        word = "at least" if self.is_least else "at most"
        return f"{self.figure} {value} ({word} {self.bound:g}, {self.images} films)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The films that a population's requirements are measured on, calibrated as shipped.

    Attributes:
        out_of_fold: by the trainings that left the patients out.
        out_of_source: by trainings that left the source out.
        measuring: of sources never trained on, by the ensemble.
    """

    out_of_fold: Results
    out_of_source: Results | None = None
    measuring: Results | None = None


def of_children(evidence: Evidence, point: Mapping[str, Any]) -> list[Requirement]:
    """Return the requirements of the children."""
    films = _chosen(evidence.out_of_fold, Population.CHILDREN)
    return [
        _area("AUC out of fold", films, AGAINST["the rest"], 0.99),
        *_at_point(films, point, sensitivity=0.90),
        _calibration(films),
    ]


def of_adults(evidence: Evidence, point: Mapping[str, Any]) -> list[Requirement]:
    """Return the requirements of the adults."""
    films = _chosen(evidence.out_of_fold, Population.ADULTS)
    return [
        _area("AUC of an opacity against the rest", films, AGAINST["the rest"], 0.85),
        _area("against normal", films, AGAINST["normal"], 0.95),
        _area("against another abnormality", films, AGAINST["other"], 0.78),
        *_at_point(films, point, sensitivity=0.75),
        _calibration(films),
        *(
            _share(
                f"normal films of {name} called present by a training without them",
                _of_source(evidence.out_of_source, source),
                point,
                (Category.NORMAL, PRESENT),
                most=0.10,
            )
            for source, name in (("nlm_shenzhen", "Shenzhen"), ("nlm_montgomery", "Montgomery"))
        ),
        _share(
            "opacities of Hannover, never trained on, called present",
            _of_source(evidence.measuring, "adult_covid"),
            point,
            (Category.OPACITY, PRESENT),
            least=0.80,
        ),
    ]


def of_unknown(films: Mapping[str, Results], point: Mapping[str, Any]) -> list[Requirement]:
    """Return the requirements of the cautious reading, by the population of the films."""
    missed = {Population.CHILDREN: 0.10, Population.ADULTS: 0.25}
    return [
        requirement
        for name, results in films.items()
        for requirement in (
            _share(
                f"normal {name} called present where the points were chosen",
                results,
                point,
                (Category.NORMAL, PRESENT),
                most=0.05,
            ),
            _share(
                f"opacities of {name} called absent there",
                results,
                point,
                (Category.OPACITY, ABSENT),
                most=missed[Population(name)],
            ),
        )
    ]


def conclusion(requirements: Sequence[Requirement]) -> dict[str, Any]:
    """Return the metadata's `validated` and `reason`."""
    if missed := [each for each in requirements if not each.is_reached]:
        return {
            "validated": False,
            "reason": f"Not reached: {'; '.join(each.described() for each in missed)}.",
        }
    return {
        "validated": True,
        "reason": f"Reached: {'; '.join(each.described() for each in requirements)}.",
    }


def _chosen(results: Results, population: str) -> Results:
    return results.take(results.sources == CHOSEN_ON[population])


def _of_source(results: Results | None, source: str) -> Results | None:
    return None if results is None else results.take(results.sources == source)


def _area(
    figure: str, films: Results, categories: tuple[Category, ...], bound: float
) -> Requirement:
    images = int(np.isin(films.categories, [Category.OPACITY, *categories]).sum())
    value = area_against(films, categories)
    return Requirement(figure=figure, value=value, bound=bound, is_least=True, images=images)


def _at_point(films: Results, point: Mapping[str, Any], *, sensitivity: float) -> list[Requirement]:
    return [
        _share(
            "normal films called present where the point was chosen",
            films,
            point,
            (Category.NORMAL, PRESENT),
            most=0.05,
        ),
        _share(
            "opacities called present there",
            films,
            point,
            (Category.OPACITY, PRESENT),
            least=sensitivity,
        ),
    ]


def _share(
    figure: str,
    films: Results | None,
    point: Mapping[str, Any],
    asked: tuple[Category, str],
    *,
    most: float | None = None,
    least: float | None = None,
) -> Requirement:
    counts = count_findings(films, point) if films else {}
    images = sum(counts.get(asked[0], {}).values())
    value = share(counts, *asked) if images >= LEAST_IMAGES else None
    bound = most if least is None else least
    if bound is None:
        raise ValueError(f"{figure}: a bound is missing")
    return Requirement(
        figure=figure, value=value, bound=bound, is_least=least is not None, images=images
    )


def _calibration(films: Results) -> Requirement:
    known = films.labelled()
    value = overall(known)["calibration_error"]
    return Requirement(
        figure="calibration error out of fold",
        value=value,
        bound=0.05,
        is_least=False,
        images=len(known.labels),
    )
