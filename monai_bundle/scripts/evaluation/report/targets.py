"""Compare the metrics with the targets of the project and with published figures."""

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

# Name, path within the metrics, at least or at most, bound.
_TARGETS: Final = (
    ("official test set: AUC", "sets.test.overall.auc.value", ">=", 0.991),
    (
        "official test set, screening: accuracy",
        "sets.test.operating_points.screening.accuracy.value",
        ">=",
        0.946,
    ),
    (
        "official test set, screening: sensitivity",
        "sets.test.operating_points.screening.sensitivity.value",
        ">=",
        0.97,
    ),
    (
        "cross-validation on children: AUC, mean of 5 folds",
        "folds.cross_validation_pediatric.auc.mean",
        ">=",
        0.998,
    ),
    (
        "adults: AUC in cross-validation (a shortcut, not evidence)",
        "sets.cross_validation_adult.overall.auc.value",
        "reported",
        None,
    ),
    (
        "calibration error, cross-validation on children",
        "sets.cross_validation_pediatric.overall.calibration_error.value",
        "<=",
        0.03,
    ),
    (
        "calibration error, cross-validation on adults",
        "sets.cross_validation_adult.overall.calibration_error.value",
        "<=",
        0.03,
    ),
    (
        "calibration error, official test set",
        "sets.test.overall.calibration_error.value",
        "<=",
        0.03,
    ),
    (
        "same radiograph, every rendering within 0.02: share of images",
        f"robustness.{EVERY_RENDERING}.within.value",
        ">=",
        0.95,
    ),
    (
        "gate: refused of what is in scope",
        "gate.in-scope.all.share.value",
        "<=",
        0.01,
    ),
    (
        "gate: refused of what is out of scope",
        "gate.out-of-scope.all.share.value",
        ">=",
        0.95,
    ),
)


def targets(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Compare the metrics with the targets; `reached` is None where nothing was measured."""
    found = []
    for name, path, relation, bound in _TARGETS:
        value = _at(metrics, path)
        wanted = relation if bound is None else f"{relation} {bound}"
        reached = None if value is None else _is_reached(value, relation, bound)
        found.append({"target": name, "wanted": wanted, "value": value, "reached": reached})
    return found


def _is_reached(value: float, relation: str, bound: float | None) -> bool:
    if bound is None:
        return True
    return value >= bound if relation == ">=" else value <= bound


def _at(metrics: dict[str, Any], path: str) -> Any:  # noqa: ANN401 -- any JSON value
    found: Any = metrics
    for key in path.split("."):
        if found is None:
            return None
        found = found.get(key)
    return found
