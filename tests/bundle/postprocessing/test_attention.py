"""There is a region only where the evidence is in one place."""

import pytest
import torch
from scripts.postprocessing.attention import LARGEST_AREA, RegionOfAttention, enlarge, find_region


def peak(row: float, column: float, *, width: float, side: int = 56) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    distance = (rows - row * side) ** 2 + (columns - column * side) ** 2
    return torch.exp(-distance / (2 * (width * side) ** 2))


def test_one_peak_gives_a_box_around_it() -> None:
    region = find_region(peak(0.7, 0.3, width=0.08))
    assert region is not None
    top, left, bottom, right = region
    assert (top + bottom) / 2 == pytest.approx(0.7, abs=0.03)
    assert (left + right) / 2 == pytest.approx(0.3, abs=0.03)
    assert 0 < (bottom - top) * (right - left) < LARGEST_AREA


def test_several_equal_peaks_have_no_region() -> None:
    two = peak(0.3, 0.2, width=0.08) + peak(0.7, 0.8, width=0.08)
    three = two + peak(0.2, 0.8, width=0.08)
    assert find_region(three) is None


def test_evidence_everywhere_has_no_region() -> None:
    assert find_region(peak(0.5, 0.5, width=0.5)) is None
    assert find_region(torch.full((56, 56), 3.0)) is None


def test_no_evidence_for_pneumonia_has_no_region() -> None:
    assert find_region(-peak(0.5, 0.5, width=0.1) - 0.1) is None


def test_the_region_is_that_of_the_calibrated_evidence() -> None:
    coarse = torch.full((1, 7, 7), -1.0)
    coarse[0, 5, 1] = 8
    sharp = RegionOfAttention()({"attention": coarse})["region"]
    assert sharp is not None
    assert sharp[0] < 5.5 / 7 < sharp[2]
    assert sharp[1] < 1.5 / 7 < sharp[3]
    flooded = RegionOfAttention()({"attention": coarse + 9})["region"]
    assert flooded == sharp  # certain everywhere, and still most so in one place
    against = RegionOfAttention()({"attention": coarse - 9})["region"]
    assert against is None


def test_evidence_counts_from_where_the_operating_point_is() -> None:
    faint = peak(0.7, 0.3, width=0.08) - 2
    assert find_region(faint) is None
    assert find_region(faint, least=-1.3) == find_region(faint + 2)
    found = RegionOfAttention()({"attention": faint[None], "least_evidence": -1.3})
    assert found["region"] is not None
    assert RegionOfAttention()({"attention": faint[None]})["region"] is None


def test_outputs_without_attention_have_no_region() -> None:
    assert RegionOfAttention()({"pred": 1})["region"] is None


def test_enlarging_keeps_positions() -> None:
    coarse = torch.zeros(7, 7)
    coarse[2, 4] = 1
    row, column = divmod(int(enlarge(coarse).argmax()), 56)
    assert (row // 8, column // 8) == (2, 4)
