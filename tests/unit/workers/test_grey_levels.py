"""The levels in which a picture of a radiograph is handed over and shown."""

import numpy as np
import pytest

from workers.grey_levels import grey_levels


@pytest.mark.parametrize(
    ("brightness", "level"),
    [
        *((0, 0), (1, 255), (0.5, 128), (100 / 255, 100), (99.4 / 255, 99), (99.6 / 255, 100)),
        *((-0.5, 0), (1.5, 255), (np.nan, 0), (np.inf, 255), (-np.inf, 0)),
    ],
)
def test_brightness_becomes_the_nearest_level(brightness: float, level: int) -> None:
    picture = np.full((3, 5), brightness, np.float32)
    found = grey_levels(picture)
    assert found.dtype == np.uint8
    assert found.tolist() == [[level] * 5] * 3


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 100])
def test_every_row_is_converted(rows: int) -> None:
    picture = np.linspace(0, 1, rows * 7, dtype=np.float32).reshape(rows, 7)
    assert np.array_equal(grey_levels(picture), np.floor(picture * np.float32(255) + 0.5))


def test_levels_stay_as_they_are() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(grey_levels(levels), levels)
