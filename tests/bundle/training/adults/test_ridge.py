"""A linear head is fitted in closed form, in chunks as well, and holds in the features' units."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from scripts.training.adults.ridge import fit_head, fit_in_chunks

Floats = NDArray[np.float64]


def data(films: int, features: int) -> tuple[Floats, Floats, Floats]:
    """Features of very different units, of which two tell the classes apart."""
    chance = np.random.default_rng(4)
    labels = (np.arange(films) % 3 == 0).astype(float)
    values = chance.normal(size=(films, features))
    values[:, 0] += 2 * labels
    values[:, 1] -= labels
    units = 10 ** chance.uniform(-2, 2, features)
    return values * units + 5 * units, labels, np.where(labels == 1, 2.0, 1.0)


@pytest.mark.parametrize(("films", "features"), [(90, 20), (30, 60)])
def test_the_solution_is_that_of_the_normal_equations(films: int, features: int) -> None:
    values, labels, weights = data(films, features)
    head = fit_head(values, labels, weights, penalty=3.0)
    shares = weights / weights.sum()
    mean = shares @ values
    spread = np.sqrt(shares @ (values - mean) ** 2)
    known = (values - mean) / spread
    gradient = known.T @ (weights * (labels - head.scores(values)))
    assert gradient == pytest.approx(3.0 * head.weight * spread, abs=1e-3)
    assert head.scores(values)[labels == 1].mean() > head.scores(values)[labels == 0].mean() + 0.2


def test_chunks_give_what_all_at_once_gives() -> None:
    values, labels, weights = data(120, 15)

    def chunks() -> Iterator[tuple[Floats, Floats, Floats]]:
        for start in range(0, 120, 50):
            rows = slice(start, start + 50)
            yield values[rows], labels[rows], weights[rows]

    whole = fit_head(values, labels, weights, penalty=0.5 * weights.sum())
    parts = fit_in_chunks(chunks, np.full(15, 0.5))
    assert parts.scores(values) == pytest.approx(whole.scores(values), abs=1e-3)


def test_a_larger_penalty_on_a_feature_takes_its_weight() -> None:
    values, labels, weights = data(120, 5)

    def chunks() -> Iterator[tuple[Floats, Floats, Floats]]:
        yield values, labels, weights

    free = fit_in_chunks(chunks, np.full(5, 0.01))
    held = fit_in_chunks(chunks, np.array([100.0, 0.01, 0.01, 0.01, 0.01]))
    assert abs(held.weight[0]) < abs(free.weight[0]) / 20


def test_a_feature_that_never_varies_counts_nothing() -> None:
    values, labels, weights = data(60, 4)
    values[:, 3] = 7
    assert fit_head(values, labels, weights, penalty=1.0).weight[3] == pytest.approx(0, abs=1e-6)
