"""Images that are out of scope, made from radiographs, drawn or photographed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scripts.data import out_of_scope, synthetic_negatives

SIDE = 64
CHANGES = [change for _, change, _ in out_of_scope.CHANGES]


def asymmetric_image() -> torch.Tensor:
    """An image that is neither symmetric nor the same when rotated."""
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij"
    )
    return (0.6 * rows + 0.3 * columns + 0.2 * torch.sin(7 * columns)).clamp(-1, 1)


@pytest.mark.parametrize(
    "change", [*CHANGES, out_of_scope.one_lung_wide], ids=lambda change: change.__name__
)
def test_a_changed_radiograph_is_another_image_of_the_same_size(
    change: out_of_scope.Change,
) -> None:
    given = asymmetric_image()
    changed = change(given, np.random.default_rng(8))
    assert changed.shape == given.shape
    assert -1.001 <= float(changed.min()) <= float(changed.max()) <= 1.001
    assert float((changed - given).abs().mean()) > 0.05
    again = change(given, np.random.default_rng(8))
    assert torch.equal(changed, again)


@pytest.mark.parametrize(
    "draw",
    [*synthetic_negatives.DRAWINGS, synthetic_negatives.hand, synthetic_negatives.skull],
    ids=lambda draw: draw.__name__,
)
def test_a_drawing_uses_the_full_range_and_depends_on_the_generator_alone(
    draw: Callable[..., np.ndarray],
) -> None:
    drawn = draw(SIDE, np.random.default_rng(3))
    assert drawn.shape == (SIDE, SIDE)
    assert drawn.dtype == np.float32
    assert (drawn.min(), drawn.max()) == (-1, 1)
    assert np.array_equal(drawn, draw(SIDE, np.random.default_rng(3)))
    assert not np.array_equal(drawn, draw(SIDE, np.random.default_rng(4)))


def test_a_photograph_is_cropped_to_the_size_asked_for() -> None:
    cropped = synthetic_negatives.photograph(SIDE, np.random.default_rng(1))
    assert cropped.shape == (SIDE, SIDE)
    assert cropped.std() > 0.05
