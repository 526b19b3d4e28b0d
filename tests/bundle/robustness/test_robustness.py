"""The images of the robustness tests are what their tables say."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scripts.data.datasets import Radiograph
from scripts.data.predictions import image_id
from scripts.preprocessing.load import read_radiograph
from scripts.robustness import renderings
from scripts.robustness.attention_checks import share_in_thorax
from scripts.robustness.corner_markers import CORNER_HEIGHT, CORNER_WIDTH, cover_corners
from scripts.robustness.out_of_distribution import _counted
from scripts.robustness.tables import sample
from synthetic.pictures import chest


@pytest.fixture
def luminance() -> np.ndarray:
    return (chest(224, 224, 8) / 255).astype("f4")


@pytest.mark.parametrize(
    ("render", "tolerance"),
    [
        (renderings.jpeg, 0.02),
        (lambda picture: renderings.monochrome1(picture, 12), 1 / 4000),
        (lambda picture: renderings.monochrome1(picture, 15), 1 / 32000),
        (renderings.jpeg2000, 0.02),
    ],
    ids=["jpeg", "12 bits", "15 bits", "jpeg 2000"],
)
def test_a_rendering_is_decoded_to_the_radiograph_it_was_made_from(
    luminance: np.ndarray, render: Callable[[np.ndarray], bytes], tolerance: float
) -> None:
    found = read_radiograph(render(luminance))
    assert found.shape == luminance.shape
    assert np.abs(found - luminance).mean() < tolerance


def test_the_narrow_window_clips_both_ends_and_scales_the_rest(luminance: np.ndarray) -> None:
    found = read_radiograph(renderings.narrow_window(luminance))
    assert (found.min(), found.max()) == (0, 1)
    low, high = np.percentile(luminance, (2, 98))
    inside = (luminance > low) & (luminance < high)
    expected = (luminance[inside] - low) / (high - low)
    assert np.abs(found[inside] - expected).max() < 0.02


def test_only_the_corners_are_covered() -> None:
    picture = torch.rand(1, 100, 100, generator=torch.Generator().manual_seed(1))
    found = cover_corners(picture)
    changed = (found != picture)[0]
    rows, columns = round(100 * CORNER_HEIGHT), round(100 * CORNER_WIDTH)
    assert not changed[rows : 100 - rows].any()
    assert not changed[:, columns : 100 - columns].any()
    assert changed.float().mean() > 3.9 * CORNER_HEIGHT * CORNER_WIDTH
    for corner in (found[0, :rows, :columns], found[0, -rows:, -columns:]):
        assert len(corner.unique()) == 1


def test_the_share_in_the_thorax_counts_positive_evidence_only() -> None:
    attention = torch.full((100, 100), -5.0)
    attention[50, 50] = 3  # inside
    attention[2, 2] = 1  # above the frame
    assert share_in_thorax(attention) == pytest.approx(0.75)


def test_refusals_are_counted_by_their_codes() -> None:
    found = _counted("out-of-scope", "hands", ["a", None, "b", "a"])
    assert (found["n"], found["refused"]) == (4, 3)
    assert json.loads(found["reasons"]) == {"a": 2, "b": 1}


def test_the_sample_does_not_depend_on_the_order_of_the_rows() -> None:
    rows = [
        Radiograph(
            image=f"{k}", label=0.0, patient=f"{k}", cohort="ab"[k % 2], sha256=f"{k * 7919:064x}"
        )
        for k in range(40)
    ]
    drawn = sample(rows, 5, cohort="a")
    assert {row["cohort"] for row in drawn} == {"a"}
    assert drawn == sample(rows[::-1], 5, cohort="a")
    assert [image_id(row) for row in drawn] == [row["sha256"][:16] for row in drawn]
