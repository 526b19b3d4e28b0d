"""Fit linear heads in closed form.

Written out because the weights are needed, in the features' own units, and the places of many films
do not fit into memory at once. `scripts.evaluation.shortcuts.probe` returns scores only.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from scripts.data.predictions import FloatArray

LEAST_SPREAD: Final = 1e-3  # of a feature; one that hardly varies is not enlarged beyond it
Floats = NDArray[np.floating]
Chunks = Callable[[], Iterable[tuple[Floats, FloatArray, FloatArray]]]  # features, labels, weights


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearHead:
    """A linear function of F features; about 1 for one class and 0 for the other."""

    weight: FloatArray  # F
    bias: float

    def scores(self, features: Floats) -> FloatArray:
        """Return the scores N of features NxF."""
        return np.asarray(features.astype(np.float64) @ self.weight + self.bias)


def fit_head(
    features: Floats, labels: FloatArray, weights: FloatArray, *, penalty: float
) -> LinearHead:
    """Fit a ridge regression of labels, 0 and 1, on standardised features NxF.

    Where there are fewer films than features the dual problem is solved, which is smaller.

    Args:
        features: of N films.
        labels: theirs.
        weights: of the films, N.
        penalty: on the squared weights of the standardised features.
    """
    shares = weights / weights.sum()
    values = features.astype(np.float64)
    mean = shares @ values
    spread = np.maximum(np.sqrt(shares @ (values - mean) ** 2), LEAST_SPREAD)
    root = np.sqrt(weights)[:, None]
    known = (values - mean) / spread * root
    middle = float(shares @ labels)
    targets = (labels - middle) * root[:, 0]
    if len(known) < known.shape[1]:
        dual = np.linalg.solve(known @ known.T + penalty * np.eye(len(known)), targets)
        found = known.T @ dual
    else:
        normal = known.T @ known + penalty * np.eye(known.shape[1])
        found = np.linalg.solve(normal, known.T @ targets)
    return _in_own_units(found, mean, spread, middle)


def fit_in_chunks(chunks: Chunks, penalties: FloatArray) -> LinearHead:
    """Fit as `fit_head` does, reading the features twice in chunks.

    Args:
        chunks: yields features nxF, labels n and weights n, the same each time it is called.
        penalties: F, each times the sum of the weights.
    """
    mean, spread, middle, total = _moments(chunks)
    normal = np.zeros((len(mean), len(mean)), np.float32)
    right = np.zeros(len(mean))
    for features, labels, weights in chunks():
        scaled = ((features - mean) / spread).astype(np.float32)
        weighted = scaled * weights.astype(np.float32)[:, None]
        normal += weighted.T @ scaled
        right += weighted.T.astype(np.float64) @ (labels - middle)
    normal[np.diag_indices_from(normal)] += penalties * total
    found = np.linalg.solve(normal, right.astype(np.float32)).astype(np.float64)
    return _in_own_units(found, mean, spread, middle)


def _moments(chunks: Chunks) -> tuple[FloatArray, FloatArray, float, float]:
    """Return the features' weighted means and spreads, the labels' mean and the sum of weights."""
    total, positive = 0.0, 0.0
    first: FloatArray | float = 0.0
    second: FloatArray | float = 0.0
    for features, labels, weights in chunks():
        values = features.astype(np.float64)
        total += float(weights.sum())
        positive += float(weights @ labels)
        first = first + weights @ values
        second = second + weights @ values**2
    mean = np.asarray(first) / total
    variance = np.asarray(second) / total - mean**2
    spread = np.maximum(np.sqrt(np.maximum(variance, 0)), LEAST_SPREAD)
    return mean, spread, positive / total, total


def _in_own_units(
    found: FloatArray, mean: FloatArray, spread: FloatArray, middle: float
) -> LinearHead:
    weight = found / spread
    return LinearHead(weight=weight, bias=middle - float(weight @ mean))
