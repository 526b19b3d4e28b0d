"""The box of a region, in the coordinates of SCOORD and of a presentation state's graphics."""

import pytest

from workers.prediction import Region
from workers.reporting.geometry import pixel_box


def test_a_box_is_given_from_outer_corner_to_outer_corner() -> None:
    region = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
    assert pixel_box(region, rows=2500, columns=2048) == (256, 625, 768, 1250)


def test_the_whole_is_from_nothing_to_as_many_as_there_are() -> None:
    whole = Region(top=0, left=0, bottom=1, right=1)
    assert pixel_box(whole, rows=3, columns=7) == (0, 0, 7, 3)


@pytest.mark.parametrize("size", [1, 3, 1023, 65535])
def test_a_box_never_leaves_the_image(size: int) -> None:
    region = Region(top=1 / 3, left=0.1, bottom=0.99999999, right=0.99999999)
    left, top, right, bottom = pixel_box(region, rows=size, columns=size)
    assert 0 <= left <= right <= size
    assert 0 <= top <= bottom <= size
    assert (left, top) == (pytest.approx(size * 0.1, abs=0.25), pytest.approx(size / 3, abs=0.25))
