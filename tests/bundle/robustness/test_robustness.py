"""What the shipped model is put to is what its tables say it is."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from peers.pictures import chest
from scripts.data.datasets import Radiograph
from scripts.preprocessing.load import read_radiograph
from scripts.robustness import renderings
from scripts.robustness.attention_checks import share_in_thorax
from scripts.robustness.corner_markers import TALL, WIDE, without_corners
from scripts.robustness.out_of_distribution import _counted
from scripts.robustness.tables import named, some
from scripts.training.recipe import FOLDS, Training, trainings


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
def test_a_rendering_reads_back_as_the_radiograph_it_was_made_of(
    luminance: np.ndarray, render: Callable[[np.ndarray], bytes], tolerance: float
) -> None:
    found = read_radiograph(render(luminance))
    assert found.shape == luminance.shape
    assert np.abs(found - luminance).mean() < tolerance


def test_another_window_clips_both_ends_and_stretches_the_rest(luminance: np.ndarray) -> None:
    found = read_radiograph(renderings.narrow_window(luminance))
    assert (found.min(), found.max()) == (0, 1)
    low, high = np.percentile(luminance, (2, 98))
    inside = (luminance > low) & (luminance < high)
    expected = (luminance[inside] - low) / (high - low)
    assert np.abs(found[inside] - expected).max() < 0.02


def test_only_the_corners_are_blotted_out() -> None:
    picture = torch.rand(1, 100, 100, generator=torch.Generator().manual_seed(1))
    found = without_corners(picture)
    changed = (found != picture)[0]
    rows, columns = round(100 * TALL), round(100 * WIDE)
    assert not changed[rows : 100 - rows].any()
    assert not changed[:, columns : 100 - columns].any()
    assert changed.float().mean() > 3.9 * TALL * WIDE
    for corner in (found[0, :rows, :columns], found[0, -rows:, -columns:]):
        assert len(corner.unique()) == 1


def test_the_share_in_the_thorax_counts_what_speaks_for_pneumonia_alone() -> None:
    attention = torch.full((100, 100), -5.0)
    attention[50, 50] = 3  # inside
    attention[2, 2] = 1  # above the frame
    assert share_in_thorax(attention) == pytest.approx(0.75)


def test_refusals_are_counted_by_their_codes() -> None:
    found = _counted("out-of-scope", "hands", ["a", None, "b", "a"])
    assert (found["n"], found["refused"]) == (4, 3)
    assert json.loads(found["reasons"]) == {"a": 2, "b": 1}


def test_the_same_radiographs_are_drawn_whatever_their_order() -> None:
    rows = [
        Radiograph(
            image=f"{k}", label=0.0, patient=f"{k}", cohort="ab"[k % 2], sha256=f"{k * 7919:064x}"
        )
        for k in range(40)
    ]
    drawn = some(rows, 5, cohort="a")
    assert {row["cohort"] for row in drawn} == {"a"}
    assert drawn == some(rows[::-1], 5, cohort="a")
    assert [named(row) for row in drawn] == [row["sha256"][:16] for row in drawn]


def test_each_training_of_the_release_finds_what_it_starts_from() -> None:
    planned: list[Training] = list(trainings("start.pth"))  # type: ignore[arg-type]
    names = [training.name for training in planned]
    assert len(names) == len(set(names)) == 3 * FOLDS + 1
    made = {"start.pth"}
    for training in planned:
        start = training.options[training.options.index("--pretrained") + 1]
        assert start in made
        made.add(str(training.weights))
