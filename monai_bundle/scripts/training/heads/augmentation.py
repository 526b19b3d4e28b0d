"""Augment a batch with tensors alone, so that it runs where the network does.

What differs between sources is varied in all of them: tones, resolution, compression, borders and
markers. `training.augmentation` does the like with PIL, image by image, and knows no sources.
"""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from scripts.training.heads.tones import local_means, transfer_tones

BLOCK: Final = 8  # pixels a side
# ITU-T T.81, table K.1: the quantisation of luminance, at quality 50
LUMINANCE: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_MIDDLE_QUALITY: Final = 50
_TEXTURE: Final = (6, 14)  # rows and columns of a drawn marker


def compress(images: Tensor, quality: Tensor) -> Tensor:
    """Return images as JPEG of this quality, B values of 1 to 100, would show them.

    ITU-T T.81, A.3.3 and A.3.4: a cosine transform of each block of 8x8, rounded to multiples of
    the table. Sides are multiples of 8.
    """
    count, _, height, width = images.shape
    table = _quantisation(quality)[:, None, None]
    cosines = _cosines(images.device)
    levels = (images + 1) * 127.5 - 128
    shape = (count, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = levels.reshape(shape).transpose(2, 3)
    rounded = (cosines @ blocks @ cosines.T / table).round() * table
    decoded = (cosines.T @ rounded @ cosines).transpose(2, 3).reshape(images.shape)
    return ((decoded + 128) / 127.5 - 1).clamp(-1, 1)


def _quantisation(quality: Tensor) -> Tensor:
    """Return the tables of qualities as libjpeg scales them: Bx8x8."""
    below = 5000 / quality
    scale = torch.where(quality < _MIDDLE_QUALITY, below, 200 - 2 * quality) / 100
    table = torch.tensor(LUMINANCE, device=quality.device)
    return (table * scale[:, None, None] + 0.5).floor().clamp(1, 255)


def _cosines(device: torch.device) -> Tensor:
    steps = torch.arange(BLOCK, device=device)
    angles = (2 * steps[None] + 1) * steps[:, None] * (math.pi / (2 * BLOCK))
    matrix = torch.cos(angles) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


class BatchAugmentation:
    """Change images at random, with one generator on their device. Images are never mirrored."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, images: Tensor, sources: Tensor) -> Tensor:
        """Return changed copies of images Bx1xHxW in [-1, 1].

        Args:
            images: of the batch.
            sources: a number for the source of each, B.
        """
        images = self._some(images, self._lay_tones(images, sources), 1 / 2)
        images = self._some(images, self._move(images), 3 / 4)
        images = self._some(images, self._change_curve(images), 2 / 3)
        images = self._some(images, self._change_contrast(images), 1 / 2)
        images = self._some(images, self._reduce(images), 1 / 2)
        images = self._some(images, self._hide_borders(images), 1 / 4)
        images = self._some(images, self._hide_corner(self._hide_corner(images)), 1 / 2)
        images = self._some(images, self._draw_marker(images), 1 / 4)
        images = self._some(images, self._add_grain(images), 1 / 3)
        return self._some(images, self._compress(images), 1 / 2).clamp(-1, 1)

    def _uniform(self, images: Tensor, low: float, high: float) -> Tensor:
        """Draw a number for each image: Bx1x1x1."""
        drawn = torch.rand(len(images), generator=self.generator, device=images.device)
        return (low + (high - low) * drawn)[:, None, None, None]

    def _some(self, images: Tensor, changed: Tensor, share: float) -> Tensor:
        return torch.where(self._uniform(images, 0, 1) < share, changed, images)

    def _lay_tones(self, images: Tensor, sources: Tensor) -> Tensor:
        """Lay the tones of a film of another source over each image, where there is one."""
        is_other = sources[:, None] != sources[None]
        chance = torch.rand(is_other.shape, generator=self.generator, device=images.device)
        partners = torch.where(is_other, chance, -1.0).argmax(1)
        strength = self._uniform(images, 0.4, 1)[:, :, 0, 0] * is_other.any(1)[:, None]
        return transfer_tones(images, images[partners], strength)

    def _move(self, images: Tensor) -> Tensor:
        angle = self._uniform(images, -10, 10).flatten() * (math.pi / 180)
        zoom = torch.exp(self._uniform(images, math.log(0.82), math.log(1.12))).flatten()
        stretch = torch.exp(self._uniform(images, -0.15, 0.15)).flatten()
        shifts = [self._uniform(images, -0.08, 0.08).flatten() for _ in range(2)]
        theta = torch.stack(
            [
                torch.stack([angle.cos() * zoom * stretch, -angle.sin() * zoom, shifts[0]], 1),
                torch.stack([angle.sin() * zoom, angle.cos() * zoom / stretch, shifts[1]], 1),
            ],
            dim=1,
        )
        grid = affine_grid(theta, list(images.shape), align_corners=False)
        return grid_sample(images + 1, grid, align_corners=False) - 1  # outside is black

    def _change_curve(self, images: Tensor) -> Tensor:
        """Apply a gamma and a window."""
        low, high = self._uniform(images, -0.1, 0.15), self._uniform(images, 0.8, 1.1)
        gamma = torch.exp(self._uniform(images, math.log(0.6), math.log(1.6)))
        bright = (((images + 1) / 2 - low) / (high - low)).clamp(0, 1)
        return bright**gamma * 2 - 1

    def _change_contrast(self, images: Tensor) -> Tensor:
        """Raise or lower the contrast within regions, as the processing of devices does."""
        factor = self._uniform(images, -0.5, 1)
        return (images + factor * (images - local_means(images))).clamp(-1, 1)

    def _reduce(self, images: Tensor) -> Tensor:
        """Reduce the resolution to one of 35 to 95 %, so that it says nothing of the source."""
        drawn = torch.rand(1, generator=self.generator, device=images.device)
        side = max(1, int(images.shape[-1] * (0.35 + 0.6 * float(drawn))))
        small = interpolate(images, (side, side), mode="bilinear", antialias=True)
        return interpolate(small, images.shape[-2:], mode="bilinear")

    def _hide_borders(self, images: Tensor) -> Tensor:
        """Cover up to an eighth along some sides, mostly black."""
        rows, columns = _places(images)
        top, left, bottom, right = (
            self._uniform(images, -0.125, 0.125).clamp(min=0) for _ in range(4)
        )
        is_border = (rows < top) | (rows > 1 - bottom) | (columns < left) | (columns > 1 - right)
        value = torch.where(self._uniform(images, 0, 1) < 0.7, -1.0, 1.0)  # noqa: PLR2004 -- mostly
        return torch.where(is_border, value, images)

    def _hide_corner(self, images: Tensor) -> Tensor:
        """Cover a corner, where markers and text are, with one grey."""
        rows, columns = _places(images)
        rows = torch.where(self._uniform(images, 0, 1) < 2 / 3, rows, 1 - rows)  # mostly above
        columns = torch.where(self._uniform(images, 0, 1) < 1 / 2, columns, 1 - columns)
        tall, wide = self._uniform(images, 0.08, 0.22), self._uniform(images, 0.08, 0.28)
        grey = 2 * self._uniform(images, 0, 1) ** 2 - 1
        return torch.where((rows < tall) & (columns < wide), grey, images)

    def _draw_marker(self, images: Tensor) -> Tensor:
        """Draw a bright pattern as large as a word, left or right."""
        rows, columns = _places(images)
        left = self._uniform(images, 0, 0.2) + (self._uniform(images, 0, 1) > 1 / 2) * 0.6
        top = self._uniform(images, 0, 0.9)
        down = (rows - top) / self._uniform(images, 0.03, 0.08)
        along = (columns - left) / self._uniform(images, 0.05, 0.18)
        bits = torch.rand(len(images), *_TEXTURE, generator=self.generator, device=images.device)
        tall, wide = _TEXTURE
        index = torch.arange(len(images), device=images.device)[:, None, None]
        row = (down[:, 0] * tall).long().clamp(0, tall - 1)
        column = (along[:, 0] * wide).long().clamp(0, wide - 1)
        is_ink = (bits[index, row, column] > 1 / 2)[:, None]
        is_inside = (down >= 0) & (down < 1) & (along >= 0) & (along < 1)
        return torch.where(is_inside & is_ink, self._uniform(images, 0.4, 1), images)

    def _add_grain(self, images: Tensor) -> Tensor:
        grain = torch.randn(images.shape, generator=self.generator, device=images.device)
        return (images + grain * self._uniform(images, 0, 0.06)).clamp(-1, 1)

    def _compress(self, images: Tensor) -> Tensor:
        return compress(images, self._uniform(images, 30, 95).flatten())


def _places(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position of each row, 1x1xHx1, and of each column, 1x1x1xW, from 0 to 1."""
    height, width = images.shape[-2:]
    rows = torch.linspace(0, 1, height, device=images.device)[None, None, :, None]
    return rows, torch.linspace(0, 1, width, device=images.device)[None, None, None]
