"""Tones, compression and the other changes of a batch do what they say, on tensors alone."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scripts.training.heads.augmentation import BatchAugmentation, compress
from scripts.training.heads.tones import (
    LEVELS,
    NORMALISATIONS,
    Normalisation,
    equalise,
    level_locally,
    transfer_tones,
)
from torch import Tensor

CPU = torch.device("cpu")


def films(count: int, seed: int = 1, side: int = 64) -> Tensor:
    """Smooth random images over the whole range, Nx1xHxW."""
    torch.manual_seed(seed)
    small = torch.rand(count, 1, 6, 6)
    large = torch.nn.functional.interpolate(small, (side, side), mode="bicubic")
    low, high = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
    return (large - low) / (high - low) * 2 - 1


def quantiles(images: Tensor) -> Tensor:
    return torch.stack(
        [image.flatten().quantile(torch.linspace(0.02, 0.98, 25)) for image in images]
    )


def test_tones_of_another_film_come_over_and_the_order_of_pixels_stays() -> None:
    images, others = films(3), films(3, seed=2).abs() * 2 - 1
    full = transfer_tones(images, others, torch.ones(3, 1))
    assert quantiles(full) == pytest.approx(quantiles(others).numpy(), abs=0.03)
    order = images[0].flatten().argsort()
    assert (full[0].flatten()[order].diff() >= 0).all()


def test_without_strength_the_own_tones_stay() -> None:
    images = films(2)
    same = transfer_tones(images, films(2, seed=2), torch.zeros(2, 1))
    assert same == pytest.approx(images.numpy(), abs=1 / (LEVELS - 1))


def test_no_monotonic_curve_changes_what_is_equalised() -> None:
    images = (films(2) * 60).round() / 60
    curved = ((images + 1) / 2) ** 2 * 1.6 - 0.9
    assert equalise(curved) == pytest.approx(equalise(images).numpy(), abs=0.02)
    assert equalise(images).mean((1, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-4)


def test_brightness_and_contrast_hardly_change_what_is_levelled_locally() -> None:
    grain = torch.randn(1, 1, 64, 64) / 5
    images = films(1) / 4 + grain
    moved = level_locally(images * 0.8 + 0.15)
    assert float((moved - level_locally(images)).abs().mean()) < 0.05
    assert float(level_locally(images).abs().mean()) > 0.1


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_a_normalisation_keeps_shape_and_range(name: str) -> None:
    found = Normalisation(name)(films(2))
    assert found.shape == (2, 1, 64, 64)
    assert float(found.abs().max()) <= 1
    assert torch.equal(found, films(2)) == (name == "none")


@pytest.mark.parametrize("quality", [35, 60, 90])
def test_compression_is_that_of_jpeg(quality: int) -> None:
    image = (films(1) + torch.randn(1, 1, 64, 64) / 8).clamp(-1, 1)
    levels = ((image + 1) * 127.5).round()
    buffer = io.BytesIO()
    Image.fromarray(levels[0, 0].byte().numpy()).save(buffer, "JPEG", quality=quality)
    wanted = np.asarray(Image.open(buffer)).astype(float)
    found = (compress(levels / 127.5 - 1, torch.tensor([float(quality)])) + 1) * 127.5
    assert np.abs(found[0, 0].numpy() - wanted).mean() < 0.75  # a coefficient may round otherwise
    assert np.abs(found[0, 0].numpy() - levels[0, 0].numpy()).mean() > 1.5


def test_the_seed_decides_and_everything_stays_in_range() -> None:
    images, sources = films(16), torch.arange(16) % 3
    one, same = (BatchAugmentation(CPU, 5)(images, sources) for _ in range(2))
    other = BatchAugmentation(CPU, 6)(images, sources)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == images.shape
    assert float(one.abs().max()) <= 1
    assert ((one - images).abs().mean((1, 2, 3)) > 0.02).sum() >= 12  # hardly one is left as it was


def test_tones_are_taken_from_another_source_only() -> None:
    dark = torch.full((4, 1, 64, 64), -0.9) + torch.rand(4, 1, 64, 64) / 10
    bright = dark + 1.7
    augmentation = BatchAugmentation(CPU, 1)
    alone = augmentation._lay_tones(dark, torch.zeros(4))
    assert alone == pytest.approx(dark.numpy(), abs=0.01)
    both = augmentation._lay_tones(torch.cat([dark, bright]), torch.arange(8) // 4)
    assert (both[:4].mean((1, 2, 3)) > -0.3).all()
    assert (both[4:].mean((1, 2, 3)) < 0.3).all()
