"""The drawn thorax looks like a chest from the side it is projected from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scripts.data import thorax_phantom
from scripts.data.thorax_phantom import project, random_thorax

SIDE = 96


def film() -> torch.Tensor:
    """A picture with tones of its own: dark on the left, bright below, grained."""
    chance = torch.Generator().manual_seed(2)
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, SIDE), torch.linspace(-1, 1, SIDE), indexing="ij"
    )
    grain = torch.randn(SIDE, SIDE, generator=chance) / 10
    return (0.5 * rows + 0.4 * columns + grain).clamp(-1, 1)


def view(angle: float, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return project(random_thorax(generator), angle, SIDE, generator)


def asymmetry(image: np.ndarray) -> float:
    """The mean difference to the mirror image, best aligned, in shares of the contrast."""
    mirrored = image[:, ::-1]
    shifts = [np.abs(np.roll(mirrored, k, 1) - image).mean() for k in range(-12, 13)]
    return float(min(shifts) / image.std())


@pytest.mark.parametrize("seed", range(5))
def test_a_lateral_view_is_less_symmetric_than_the_frontal_one(seed: int) -> None:
    assert asymmetry(view(90, seed)) > 1.3 * asymmetry(view(0, seed))


def middle_of_spine(image: np.ndarray) -> float:
    """Where the densest column is above the diaphragm: 0 at the left edge, 1 at the right."""
    inner = image[SIDE // 4 : SIDE // 2].mean(0)
    return float(inner.argmax() / SIDE)


def test_the_spine_is_in_the_middle_from_the_front_and_behind_from_the_side() -> None:
    frontal = [middle_of_spine(view(0, seed)) for seed in range(12)]
    left = [middle_of_spine(view(-90, seed)) for seed in range(12)]
    right = [middle_of_spine(view(90, seed)) for seed in range(12)]
    assert all(0.35 < place < 0.65 for place in frontal)
    assert np.median(left) < 0.35
    assert np.median(right) > 0.65


def test_lungs_let_more_through_than_what_is_below_them() -> None:
    for seed in range(5):
        generator = np.random.default_rng(seed)
        thorax = replace(random_thorax(generator), arms=0)
        seen = project(thorax, 90, SIDE, generator)
        middle = seen[:, SIDE // 3 : 2 * SIDE // 3].mean(1)
        assert middle[SIDE // 3 : SIDE // 2].mean() < 0.8 * middle[-SIDE // 20 :].mean()


@pytest.mark.parametrize("make", [thorax_phantom.lateral_phantom, thorax_phantom.frontal_phantom])
def test_a_phantom_depends_on_the_seed_alone_and_is_in_range(
    make: thorax_phantom.Change,
) -> None:
    made, again, other = (make(film(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert made.shape == (SIDE, SIDE)
    assert made.dtype == torch.float32
    assert float(made.abs().max()) <= 1
    assert torch.equal(made, again)
    assert float((made - other).abs().mean()) > 0.05


def test_the_tones_of_the_film_are_laid_over_some_phantoms() -> None:
    dark = (film() * 0.2 - 0.8).clamp(-1, 1)
    means = [
        float(thorax_phantom.lateral_phantom(dark, np.random.default_rng(seed)).mean())
        for seed in range(12)
    ]
    assert min(means) < -0.5
    assert max(means) > min(means) + 0.2
