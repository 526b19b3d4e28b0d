"""The population stability index."""

import math
import random

import pytest

from service.web.quality.drift import (
    FEWEST_BEFORE,
    FEWEST_RECENT,
    drift,
    equal_groups,
    grouped,
)


def test_the_same_distribution_has_an_index_of_nothing() -> None:
    same = drift([100, 300, 600], [1000, 3000, 6000])
    assert same.index == pytest.approx(0, abs=1e-4)
    assert same.words.startswith("No change")


def test_the_index_is_the_one_of_its_formula() -> None:
    moved = drift([50_000, 50_000], [20_000, 80_000])
    expected = (0.5 - 0.2) * math.log(0.5 / 0.2) + (0.5 - 0.8) * math.log(0.5 / 0.8)
    assert moved.index == pytest.approx(expected, rel=1e-4)
    assert moved.words.startswith("A large change")


def test_a_group_that_was_empty_before_has_a_finite_index() -> None:
    moved = drift([0, 0, 60], [300, 0, 0])
    assert moved.index is not None
    assert 1 < moved.index < math.inf


@pytest.mark.parametrize(
    ("recent", "before"), [(FEWEST_RECENT - 1, 5000), (5000, FEWEST_BEFORE - 1), (0, 0)]
)
def test_too_few_films_give_a_sentence_and_no_index(recent: int, before: int) -> None:
    few = drift([recent, 0], [before, 0])
    assert (few.index, few.by_chance) == (None, None)
    assert few.words.startswith("Too few films")
    assert (few.recent, few.before) == (recent, before)


def test_the_value_by_chance_is_the_mean_of_the_index_without_any_change() -> None:
    chance = random.Random(1)

    def sample(films: int) -> list[int]:
        drawn = chance.choices(range(10), k=films)
        return [drawn.count(group) for group in range(10)]

    indices = [drift(sample(400), sample(2000)) for _ in range(200)]
    mean = sum(each.index or 0 for each in indices) / len(indices)
    assert indices[0].by_chance == pytest.approx(9 * (1 / 400 + 1 / 2000))
    assert mean == pytest.approx(indices[0].by_chance, rel=0.15)


def test_groups_hold_about_as_many_films_each() -> None:
    counts = [500, *[10] * 49, *[0] * 49, 510]
    ends = equal_groups(counts)
    assert ends[-1] == 100
    assert sum(grouped(counts, ends)) == sum(counts)
    assert ends == sorted(set(ends))
    assert 3 <= len(ends) <= 10
    assert grouped([1] * 100, equal_groups([1] * 100)) == [10] * 10


def test_no_films_are_one_group() -> None:
    assert equal_groups([0] * 100) == [100]
