"""Augmented images stay in range, are not mirrored and depend on the seed only."""

import numpy as np
import pytest
import torch
from scripts.training.augmentation import Augment
from synthetic.pictures import chest
from torch import Tensor

SIDE = 96


def chests(count: int) -> Tensor:
    """The same smooth image `count` times, Bx1xHxW in [-1, 1]."""
    picture = torch.from_numpy(chest(SIDE, SIDE, 8) / 127.5 - 1).float()
    return picture.expand(count, 1, SIDE, SIDE).clone()


def test_shape_type_and_range_stay_and_nearly_every_image_changes() -> None:
    given = chests(64)
    changed = Augment(seed=1).change(given.clone())
    assert changed.shape == given.shape
    assert changed.dtype == torch.float32
    assert changed.isfinite().all()
    assert changed.min() >= -1
    assert changed.max() <= 1
    assert ((changed - given).abs().mean((1, 2, 3)) > 0.01).float().mean() > 0.9


def test_noise_and_extremes_stay_in_range() -> None:
    generator = torch.Generator().manual_seed(1)
    given = torch.rand(64, 1, 32, 32, generator=generator).round() * 2 - 1
    changed = Augment(seed=2).change(given)
    assert (changed.min(), changed.max()) == (-1, 1)


def test_the_result_depends_on_the_seed() -> None:
    one, same, other = (Augment(seed).change(chests(8)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_batches_and_the_images_of_a_batch_are_changed_differently() -> None:
    augment = Augment(seed=1)
    first, second = augment.change(chests(8)), augment.change(chests(8))
    assert not torch.equal(first, second)
    assert len({picture.numpy().tobytes() for picture in first}) == 8


def test_a_batch_becomes_images_and_targets_and_is_not_modified() -> None:
    given = chests(4)
    batch = {"image": given.clone(), "label": torch.tensor([0.0, 1.0, 1.0, 0.0])}
    images, labels = Augment(seed=1)(batch, "cpu")
    assert images.shape == (4, 1, SIDE, SIDE)
    assert torch.equal(labels, torch.tensor([[0.0], [1.0], [1.0], [0.0]]))
    assert torch.equal(batch["image"], given)


def correlation(images: Tensor, pattern: Tensor) -> Tensor:
    images = images - images.mean((1, 2, 3), keepdim=True)
    pattern = pattern - pattern.mean()
    norms = images.flatten(1).norm(dim=1) * pattern.norm()
    return (images * pattern).sum((1, 2, 3)) / norms.clamp(min=1e-6)


def test_images_are_neither_mirrored_nor_flipped() -> None:
    across = torch.linspace(-1, 1, SIDE).expand(SIDE, SIDE)
    for pattern in (across, across.T):
        changed = Augment(seed=3).change(pattern.expand(200, 1, SIDE, SIDE).clone())
        assert correlation(changed, pattern).min() > 0.1  # mirrored, it would be negative


def test_a_quarter_of_the_images_is_not_moved() -> None:
    given = chests(800)
    moved = Augment(seed=4)._move(given)
    unmoved = (moved == given).flatten(1).all(dim=1)
    assert unmoved.float().mean() == pytest.approx(0.25, abs=0.05)


def test_moved_images_are_filled_with_black() -> None:
    white = torch.ones(200, 1, 32, 32)
    moved = Augment(seed=5)._move(white)
    assert moved.min() == pytest.approx(-1)
    assert moved.max() == pytest.approx(1, abs=1e-5)


def test_a_third_is_blurred_and_a_sixth_sharpened() -> None:
    detail = torch.from_numpy(np.indices((64, 64)).sum(0) // 4 % 2 * 1.0 - 0.5).float()
    given = detail.expand(600, 1, 64, 64).clone()
    energy = (Augment(seed=6)._change_sharpness(given).square().mean((1, 2, 3)) / 0.25).round(
        decimals=3
    )
    assert (energy < 1).float().mean() == pytest.approx(1 / 3, abs=0.06)
    assert (energy > 1).float().mean() == pytest.approx(1 / 6, abs=0.05)


def test_borders_covers_words_and_compression_have_the_documented_frequency() -> None:
    grey = torch.full((600, 1, 64, 64), 0.1)
    shares = {}
    for name in ("_collimate", "_occlude", "_mark"):
        changed = getattr(Augment(seed=7), name)(grey.clone())
        shares[name] = (changed != grey).flatten(1).any(dim=1).float().mean().item()
        if name != "_mark":  # a long word reaches inwards
            assert (changed[:, :, 26:38, 26:38] == 0.1).all(), name
    # a border needs one of four draws above a half; two corners are blotted by half each
    assert shares["_collimate"] == pytest.approx(0.2 * 15 / 16, abs=0.05)
    assert shares["_occlude"] == pytest.approx(3 / 4, abs=0.06)
    assert shares["_mark"] == pytest.approx(1 / 4, abs=0.06)
    pictures = chests(400)
    compressed = Augment(seed=8)._compress(pictures.clone())
    share = (compressed != pictures).flatten(1).any(dim=1).float().mean()
    assert share == pytest.approx(1 / 4, abs=0.07)
    assert (compressed - pictures).abs().mean() < 0.02


def test_intensities_keep_their_order() -> None:
    ramp = torch.linspace(-1, 1, 64).expand(200, 1, 64, 64).clone()
    toned = Augment(seed=9)._change_intensity(ramp)
    rows = toned.mean((1, 2))  # over the rows, so that grain averages out
    assert ((rows[:, 8:] - rows[:, :-8]) > -0.02).all()
    assert toned.flatten(1).std(dim=1).min() > 0.2
