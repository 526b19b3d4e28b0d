"""Fit the simplest model to a description: ridge regression, within a set and across sources.

Written out in a few lines because neither the bundle nor its `train` extra needs scikit-learn
otherwise, and a ridge regression has a closed form.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.predictions import FloatArray

FOLDS: Final = 5
PENALTY: Final = 0.1  # times the number of images: features have the variance 1
SEED: Final = 20240611


def ridge_scores(
    seen: NDArray[np.floating],
    labels: FloatArray,
    asked: NDArray[np.floating],
    *,
    weights: FloatArray | None = None,
    penalty: float = PENALTY,
) -> FloatArray:
    """Fit to `seen`, NxF, and return the scores of `asked`, MxF.

    Args:
        seen: the features to fit to.
        labels: theirs, 1.0 and 0.0.
        asked: the features to score.
        weights: of the rows of `seen`. By default both classes weigh the same, so that a score
            does not learn their frequency.
        penalty: times the number of rows of `seen`.
    """
    mean, spread = seen.mean(0), seen.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    known, new = (seen - mean) / spread, (asked - mean) / spread
    known, new = (np.hstack([each, np.ones((len(each), 1))]) for each in (known, new))
    if weights is None:
        weights = np.where(labels == 1, 0.5 / labels.mean(), 0.5 / (1 - labels).mean())
    targets = 2 * labels - 1
    ridge = penalty * len(known)
    if known.shape[1] <= len(known):
        normal = (known * weights[:, None]).T @ known + ridge * np.eye(known.shape[1])
        return np.asarray(new @ np.linalg.solve(normal, known.T @ (weights * targets)))
    root = np.sqrt(weights)[:, None]  # fewer images than features: the dual problem is smaller
    gram = (root * known) @ (root * known).T + ridge * np.eye(len(known))
    dual = np.linalg.solve(gram, root[:, 0] * targets)
    return np.asarray(new @ ((root * known).T @ dual))


def folds_of(patients: NDArray[np.str_], *, folds: int = FOLDS, seed: int = SEED) -> NDArray[Any]:
    """Return each image's fold; all images of one patient are in one."""
    names, owner = np.unique(patients, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of_patient = np.empty(len(names), dtype=int)
    fold_of_patient[order] = np.arange(len(names)) % folds
    return np.asarray(fold_of_patient[owner])


def within(features: FloatArray, labels: FloatArray, patients: NDArray[np.str_]) -> FloatArray:
    """Return out-of-fold scores; NaN where the other folds lack a class."""
    scores = np.full(len(labels), np.nan)
    fold = folds_of(patients)
    for each in range(FOLDS):
        held, seen = fold == each, fold != each
        if held.any() and 0 < labels[seen].sum() < seen.sum():
            scores[held] = ridge_scores(features[seen], labels[seen], features[held])
    return scores
