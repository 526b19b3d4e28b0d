"""Compare the metrics with the targets of the project and with published figures."""

from dataclasses import dataclass
from typing import Any, Final

from scripts.evaluation.report.robustness import EVERY_RENDERING

# Published figures of the official test set of 624 images, and whether they are comparable.
PUBLISHED: Final[tuple[dict[str, Any], ...]] = (
    {
        "source": "Kermany et al., Cell 2018",
        "auc": 0.968,
        "accuracy": 0.928,
        "sensitivity": 0.932,
        "specificity": 0.901,
        "comparable": "Same test images, there in full size. No intervals.",
    },
    {
        "source": "MedMNIST v2, ResNet-18 at 224",
        "auc": 0.956,
        "accuracy": 0.864,
        "comparable": (
            "Same test images, cropped to a square, not resized to one; accuracy at the "
            "more probable class, so compare with `balanced`. No intervals."
        ),
    },
    {
        "source": "MedMNIST v2, ResNet-50 at 224",
        "auc": 0.962,
        "accuracy": 0.884,
        "comparable": "As above.",
    },
    {
        "source": "MedMNIST v2, Google AutoML Vision",
        "auc": 0.991,
        "accuracy": 0.946,
        "comparable": "As above. The network and its pretraining are not published.",
    },
    {
        "source": "arXiv 2601.00837",
        "auc": 0.999,
        "accuracy": 0.994,
        "comparable": (
            "Not comparable: a random split of the training set, where the official test set is "
            "harder. The closest figure here is cross-validation on children."
        ),
    },
)

# Where a figure is found: a path within the metrics, or a line of `groups` and a path within it.
Place = tuple[str, ...]
_OF_RSNA: Final = ("rsna_test", "rsna2018")
_LEFT_OUT: Final = "by a training without this hospital"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure and the bound that the project sets it."""

    figure: str
    path: str  # of the value with its interval, or of the value
    bound: float
    is_least: bool = True  # else the bound is the most that is allowed
    line: Place | None = (
        None  # table and source of a line of `groups`; None for a path from the top
    )
    images: str | None = None  # the path of the number of films, from the same place


def _most(target: str, path: str, bound: float, **where: Any) -> Target:  # noqa: ANN401 -- the fields
    return Target(figure=target, path=path, bound=bound, is_least=False, **where)


def _called(kind: str, line: Place) -> dict[str, Any]:
    return {"line": line, "images": f"findings.{kind}.images"}


_TARGETS: Final = (
    *(
        Target(
            figure=f"RSNA test split: AUC of an opacity against {name}",
            path=f"auc.{name}",
            bound=bound,
            line=_OF_RSNA,
            images="images",
        )
        for name, bound in (("the rest", 0.85), ("normal", 0.95), ("other", 0.78))
    ),
    _most(
        "RSNA test split, balanced: normal adults called present",
        "findings.normal.present",
        0.05,
        **_called("normal", _OF_RSNA),
    ),
    Target(
        figure="RSNA test split, balanced: sensitivity",
        path="findings.opacity.present",
        bound=0.75,
        **_called("opacity", _OF_RSNA),
    ),
    *(
        _most(
            f"{name}, {_LEFT_OUT}: normal adults called present",
            "findings.normal.present",
            0.10,
            **_called("normal", ("out_of_source", source)),
        )
        for name, source in (("Shenzhen", "nlm_shenzhen"), ("Montgomery", "nlm_montgomery"))
    ),
    Target(
        figure="Hannover (COVID-19), never trained on: sensitivity",
        path="findings.opacity.present",
        bound=0.80,
        **_called("opacity", ("measuring", "adult_covid")),
    ),
    Target(
        figure="children, official test set: AUC",
        path="sets.test.overall.auc",
        bound=0.991,
        images="sets.test.images",
    ),
    Target(
        figure="children, official test set, balanced: accuracy",
        path="sets.test.operating_points.balanced.accuracy",
        bound=0.946,
        images="sets.test.images",
    ),
    Target(
        figure="children, cross-validation: AUC, mean of five folds",
        path="folds.cross_validation_pediatric.auc.mean",
        bound=0.998,
        images="sets.cross_validation_pediatric.images",
    ),
    *(
        _most(f"calibration error, {name}", "calibration_error", 0.05, line=line, images="images")
        for name, line in (
            ("adults, RSNA by a training without it", ("out_of_source", "rsna2018")),
            ("adults, RSNA out of fold", ("cross_validation", "rsna2018")),
            ("adults, RSNA test split", _OF_RSNA),
            ("children out of fold", ("cross_validation", "pediatric")),
            ("children, official test set", ("test", "pediatric")),
        )
    ),
    Target(
        figure="same radiograph, every rendering within 0.02: share of images",
        path=f"robustness.{EVERY_RENDERING}.within",
        bound=0.95,
        images=f"robustness.{EVERY_RENDERING}.images",
    ),
    _most(
        "gate: refused of what is in scope",
        "gate.in-scope.all.share",
        0.01,
        images="gate.in-scope.all.images",
    ),
    Target(
        figure="gate: refused of what is out of scope",
        path="gate.out-of-scope.all.share",
        bound=0.95,
        images="gate.out-of-scope.all.images",
    ),
)


def targets(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the metrics with the targets; `reached` is None where nothing was measured."""
    return [_compared(metrics, target) for target in _TARGETS]


def _compared(metrics: dict[str, Any], target: Target) -> dict[str, Any]:
    place = metrics if target.line is None else _line(metrics, *target.line)
    found = _at(place, target.path)
    value, interval = (found["value"], found["ci95"]) if isinstance(found, dict) else (found, None)
    reached = None
    if value is not None:
        reached = value >= target.bound if target.is_least else value <= target.bound
    return {
        "target": target.figure,
        "wanted": f"{'>=' if target.is_least else '<='} {target.bound}",
        "images": _at(place, target.images) if target.images and value is not None else None,
        "value": value,
        "ci95": interval,
        "reached": reached,
    }


def _line(metrics: dict[str, Any], name: str, source: str) -> dict[str, Any] | None:
    lines = [x for x in metrics["groups"] if (x["table"], x["source"]) == (name, source)]
    return lines[0] if lines else None


def _at(place: Any, path: str) -> Any:  # noqa: ANN401 -- any JSON value
    found: Any = place
    for key in path.split("."):
        if found is None:
            return None
        found = found.get(key)
    return found
