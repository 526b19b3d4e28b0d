"""Wilson's interval, and the band of a rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.quality.proportion import Proportion, expected_band


# Newcombe (1998), Statistics in Medicine 17:857, table I, method 3
@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_the_published_examples(
    count: int, of: int, low: float, high: float
) -> None:
    assert Proportion(count, of).interval == pytest.approx((low, high), abs=5e-5)


def test_nothing_has_neither_share_nor_interval() -> None:
    assert (Proportion(0, 0).share, Proportion(0, 0).interval) == (None, None)


@given(st.integers(1, 10_000), st.data())
def test_the_interval_holds_the_share_and_stays_within_0_and_1(
    of: int, data: st.DataObject
) -> None:
    proportion = Proportion(data.draw(st.integers(0, of)), of)
    assert proportion.share is not None
    assert proportion.interval is not None
    low, high = proportion.interval
    assert 0 <= low <= proportion.share + 1e-12
    assert proportion.share - 1e-12 <= high <= 1


def test_the_band_narrows_with_the_number_of_films() -> None:
    assert expected_band(0.5, 100) == pytest.approx((0.402, 0.598), abs=1e-3)
    assert expected_band(0.5, 10_000) == pytest.approx((0.4902, 0.5098), abs=1e-4)
    assert expected_band(0.01, 4)[0] == 0
