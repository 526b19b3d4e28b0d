"""Augment a batch with the variation of radiographs between devices and hospitals."""

import io
import math
from typing import Any, Final

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from scripts.training.handlers import prepare_batch

MARKERS: Final = ("R", "L", "D", "RT", "LT", "AP", "PA", "SUPINE", "PORTABLE", "70kV", "12:34")


class Augment:
    """Prepare a batch for a MONAI trainer, with random changes of its images.

    Position, size, rotation and aspect ratio vary with the field of view; intensity, window, noise
    and sharpness with the device and its processing. Lossy compression and the borders of the
    collimator are simulated. Markers and text are covered or added, because they identify the
    hospital and not the disease. Images are never mirrored: the heart is on the left. They are
    Bx1xHxW in [-1, 1], before and after.
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
        """Return augmented images Bx1xHxW and labels Bx1 on `device`."""
        images, labels = prepare_batch(batch)
        images = self.change(images)
        return (
            images.to(device, non_blocking=non_blocking),
            labels.to(device, non_blocking=non_blocking),
        )

    def change(self, images: Tensor) -> Tensor:
        """Return augmented copies of images Bx1xHxW in [-1, 1]."""
        images = self._change_sharpness(self._move(images))
        images = self._mark(self._occlude(self._collimate(images)))
        return self._compress(self._change_intensity(images))

    def _uniform(self, count: int, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=self.generator)

    def _draw(self, count: int) -> list[float]:
        drawn: list[float] = self._uniform(count, 0, 1).tolist()
        return drawn

    def _move(self, images: Tensor) -> Tensor:
        count = len(images)
        angle = self._uniform(count, -12, 12) * (math.pi / 180)
        zoom = torch.exp(self._uniform(count, math.log(0.8), math.log(1.15)))
        stretch = torch.exp(self._uniform(count, math.log(0.85), math.log(1.18)))
        theta = torch.zeros(count, 2, 3)
        theta[:, 0, 0] = torch.cos(angle) * zoom * stretch
        theta[:, 0, 1] = -torch.sin(angle) * zoom
        theta[:, 1, 0] = torch.sin(angle) * zoom
        theta[:, 1, 1] = torch.cos(angle) * zoom / stretch
        theta[:, 0, 2] = self._uniform(count, -0.08, 0.08)
        theta[:, 1, 2] = self._uniform(count, -0.08, 0.08)
        grid = affine_grid(theta, list(images.shape), align_corners=False)
        moved = grid_sample(images + 1, grid, align_corners=False) - 1  # outside is black
        # interpolation blurs: without unmoved images the network would not be trained on images as
        # sharp as the true input
        is_unmoved = self._uniform(count, 0, 1) < 1 / 4
        return torch.where(is_unmoved[:, None, None, None], images, moved)

    def _change_sharpness(self, images: Tensor) -> Tensor:
        """Blur a third of the images and sharpen a sixth.

        The originals of the two labels were published in different sizes, so that after the same
        reduction one label is sharper than the other, which the network must not learn.
        """
        chosen = self._uniform(len(images), 0, 1)
        side = int(images.shape[-1] * float(self._uniform(1, 0.35, 0.8)))
        small = interpolate(images, (side, side), mode="bilinear", antialias=True)
        blurred = interpolate(small, images.shape[-2:], mode="bilinear")
        edges = (images - blurred) * float(self._uniform(1, 0.3, 1.2))
        chosen = chosen[:, None, None, None]
        images = torch.where(chosen < 1 / 3, blurred, images)
        return torch.where(chosen > 5 / 6, images + edges, images)

    def _collimate(self, images: Tensor) -> Tensor:
        """Add a dark or a bright border along some sides of a fifth of the images."""
        height, width = images.shape[-2:]
        images = images.clone()
        for image in images:
            draw = self._draw(6)
            if draw[0] > 1 / 5:
                continue
            top, left, bottom, right = (0.12 * max(0.0, 2 * x - 1) for x in draw[1:5])
            value = -1.0 if draw[5] < 0.7 else 1.0  # noqa: PLR2004 -- mostly black
            image[:, : int(top * height)] = value
            image[:, height - int(bottom * height) :] = value
            image[:, :, : int(left * width)] = value
            image[:, :, width - int(right * width) :] = value
        return images

    def _occlude(self, images: Tensor) -> Tensor:
        """Cover each of two corners with a probability of one half."""
        height, width = images.shape[-2:]
        for image in images:
            draw = self._draw(8)
            for corner in range(2):
                if draw[corner] > 1 / 2:
                    continue
                tall = int(height * (0.08 + 0.14 * draw[2 + corner]))
                wide = int(width * (0.08 + 0.20 * draw[4 + corner]))
                rows = slice(0, tall) if draw[6] < 2 / 3 else slice(height - tall, height)
                columns = slice(0, wide) if corner == 0 else slice(width - wide, width)
                image[:, rows, columns] = 2 * draw[7] ** 2 - 1
        return images

    def _mark(self, images: Tensor) -> Tensor:
        """Write a marker or a word near an edge of a quarter of the images."""
        height, width = images.shape[-2:]
        for image in images:
            draw = self._draw(6)
            if draw[0] > 1 / 4:
                continue
            word = MARKERS[int(draw[1] * len(MARKERS))]
            canvas = Image.new("L", (width, height))
            left = draw[3] * 0.2 if draw[2] < 1 / 2 else 0.7 + draw[3] * 0.2
            place = (int(left * width), int((draw[4] * 0.3 + 0.55 * (draw[5] > 0.8)) * height))  # noqa: PLR2004 -- mostly above
            ImageDraw.Draw(canvas).text(place, word, fill=255, font_size=6 + 14 * draw[5])
            ink = torch.from_numpy(np.array(canvas)).float() / 255
            image[0] = image[0] * (1 - ink) + ink * (0.4 + 0.6 * draw[5])
        return images

    def _change_intensity(self, images: Tensor) -> Tensor:
        count = len(images)
        gamma = torch.exp(self._uniform(count, math.log(0.6), math.log(1.6)))[:, None, None, None]
        gain = self._uniform(count, 0.8, 1.25)[:, None, None, None]
        shift = self._uniform(count, -0.2, 0.2)[:, None, None, None]
        noise = self._uniform(count, -0.04, 0.06).clamp(min=0)[:, None, None, None]
        bright = ((images + 1) / 2).clamp(0, 1) ** gamma
        grain = torch.randn(images.shape, generator=self.generator) * noise
        return ((bright * 2 - 1) * gain + shift + grain).clamp(-1, 1)

    def _compress(self, images: Tensor) -> Tensor:
        """Compress a quarter of the images with JPEG or, less often, with JPEG 2000."""
        for image in images:
            draw = self._draw(3)
            if draw[0] > 1 / 4:
                continue
            picture = Image.fromarray(((image[0] + 1) * 127.5).round().byte().numpy())
            buffer = io.BytesIO()
            if draw[1] < 0.8:  # noqa: PLR2004 -- JPEG 2000 is rarer, and slower
                picture.save(buffer, "JPEG", quality=int(30 + 65 * draw[2]))
            else:
                layers = [4 + 20 * draw[2]]
                picture.save(buffer, "JPEG2000", irreversible=True, quality_layers=layers)
            decoded = np.array(Image.open(buffer))
            image[0] = torch.from_numpy(decoded).float() / 127.5 - 1
        return images
