"""Random changes of a whole batch: what a radiograph may look like without being another one."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from scripts.learning import as_batch


class Augment:
    """Turn a batch into network input and target, randomly changed; for a MONAI trainer.

    Position, size and tilt vary because the field of view does; tone and sharpness because the
    machine and its processing do; the corners are blotted out because that is where side markers
    and burned-in text sit, which tell the hospital and not the disease. Nothing is mirrored: the
    heart is on the left. Images are Bx1xHxW in [-1, 1], before and after.
    """

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(
        self,
        batch: dict[str, Any],
        device: str | torch.device | None = None,
        non_blocking: bool = False,  # noqa: FBT001, FBT002 -- the signature MONAI calls with
        **_: object,
    ) -> tuple[Tensor, Tensor]:
        """Give images Bx1xHxW and labels Bx1 on `device`."""
        images, labels = as_batch(batch)
        images = self._tone(self._occlude(self._blur(self._move(images))))
        return (
            images.to(device, non_blocking=non_blocking),
            labels.to(device, non_blocking=non_blocking),
        )

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=self.generator)

    def _move(self, images: Tensor) -> Tensor:
        count = len(images)
        angle = self._uniform(count, -12, 12) * (math.pi / 180)
        zoom = torch.exp(self._uniform(count, math.log(0.8), math.log(1.15)))
        stretch = torch.exp(self._uniform(count, math.log(0.88), math.log(1.14)))
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = torch.cos(angle) * zoom * stretch
        theta[:, 0, 1] = -torch.sin(angle) * zoom
        theta[:, 1, 0] = torch.sin(angle) * zoom
        theta[:, 1, 1] = torch.cos(angle) * zoom / stretch
        theta[:, 0, 2] = self._uniform(count, -0.08, 0.08)
        theta[:, 1, 2] = self._uniform(count, -0.08, 0.08)
        grid = affine_grid(theta, list(images.shape), align_corners=False)
        moved = grid_sample(images + 1, grid, align_corners=False) - 1  # outside is black
        # moving interpolates and so softens: without some left as they are, the network would
        # meet the sharpness of a true input for the first time when it counts
        is_left = self._uniform(count, 0, 1) < 1 / 4
        return torch.where(is_left[:, None, None, None], images, moved)

    def _blur(self, images: Tensor) -> Tensor:
        """Lose sharpness on a third of the images: published sizes differ between the classes."""
        chosen = self._uniform(len(images), 0, 1) < 1 / 3
        if not chosen.any():
            return images
        side = int(images.shape[-1] * float(self._uniform(1, 0.4, 0.8)))
        small = interpolate(images[chosen], (side, side), mode="bilinear", antialias=True)
        images = images.clone()
        images[chosen] = interpolate(small, images.shape[-2:], mode="bilinear")
        return images

    def _occlude(self, images: Tensor) -> Tensor:
        """Blot out a rectangle at one or two corners of half the images."""
        height, width = images.shape[-2:]
        images = images.clone()
        for image in images:
            draw = self._uniform(8, 0, 1).tolist()
            for corner in range(2):
                if draw[corner] > 1 / 2:
                    continue
                tall = int(height * (0.08 + 0.14 * draw[2 + corner]))
                wide = int(width * (0.08 + 0.20 * draw[4 + corner]))
                rows = slice(0, tall) if draw[6] < 2 / 3 else slice(height - tall, height)
                columns = slice(0, wide) if corner == 0 else slice(width - wide, width)
                image[:, rows, columns] = 2 * draw[7] ** 2 - 1
        return images

    def _tone(self, images: Tensor) -> Tensor:
        count = len(images)
        gamma = torch.exp(self._uniform(count, math.log(0.6), math.log(1.6)))[:, None, None, None]
        gain = self._uniform(count, 0.8, 1.2)[:, None, None, None]
        shift = self._uniform(count, -0.2, 0.2)[:, None, None, None]
        noise = self._uniform(count, 0, 0.06)[:, None, None, None]
        bright = ((images + 1) / 2).clamp(0, 1) ** gamma
        grain = torch.randn(images.shape, generator=self.generator) * noise
        return ((bright * 2 - 1) * gain + shift + grain).clamp(-1, 1)
