"""The population stability index."""

import math
import random

import pytest

from service.domain.monitoring.drift import (
    FEWEST_BEFORE,
    FEWEST_RECENT,
    chi_squared_95,
    drift,
    equal_groups,
    grouped,
)


def test_the_same_distribution_has_an_index_of_nothing() -> None:
    same = drift([100, 300, 600], [1000, 3000, 6000])
    assert same.index == pytest.approx(0, abs=1e-4)
    assert same.words.startswith("No more change")


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
    assert (few.index, few.limit) == (None, None)
    assert few.words.startswith("Too few films")
    assert (few.recent, few.before) == (recent, before)


def test_without_any_change_the_index_stays_below_its_limit_in_19_weeks_of_20() -> None:
    chance = random.Random(1)

    def sample(films: int) -> list[int]:
        drawn = chance.choices(range(10), k=films)
        return [drawn.count(group) for group in range(10)]

    weeks = [drift(sample(200), sample(1600)) for _ in range(400)]
    within = [each for each in weeks if each.words.startswith("No more change")]
    assert 0.92 <= len(within) / len(weeks) <= 0.985


def test_a_small_change_of_many_films_is_called_small() -> None:
    moved = drift([52_000, 48_000], [50_000, 50_000])
    assert moved.words == "A change, but a small one."
    assert drift([600, 400], [4_400, 5_600]).words == "Some change: look at it."


# NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.4
@pytest.mark.parametrize(("degrees", "value"), [(1, 3.841), (4, 9.488), (9, 16.919), (30, 43.773)])
def test_the_limit_is_that_of_the_published_table(degrees: int, value: float) -> None:
    assert chi_squared_95(degrees) == pytest.approx(value, rel=0.03)
    assert chi_squared_95(0) == 0


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
