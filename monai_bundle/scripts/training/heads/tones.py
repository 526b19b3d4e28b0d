"""Change and normalise the tones of a batch with tensors alone, on a CPU or a GPU.

Images are Bx1xHxW in [-1, 1]. Their tones are counted at 256 levels, as 8-bit films have them.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

LEVELS: Final = 256
CELLS: Final = 16  # a side of the grid of local means
LEAST_SPREAD: Final = 0.05  # below it a region counts as flat, and its grain is not enlarged


def levels_of(images: Tensor) -> Tensor:
    """Return the level of each pixel: BxHW, 0 to 255."""
    return ((images.flatten(1) + 1) * (LEVELS - 1) / 2).round().long().clamp_(0, LEVELS - 1)


def shares_below(levels: Tensor) -> Tensor:
    """Return for each level the share of pixels below it, and half of those at it: Bx256."""
    counts = torch.zeros(len(levels), LEVELS, device=levels.device)
    counts.scatter_add_(1, levels, torch.ones_like(levels, dtype=counts.dtype))
    return (counts.cumsum(1) - counts / 2) / levels.shape[1]


def transfer_tones(images: Tensor, others: Tensor, strength: Tensor) -> Tensor:
    """Return images whose tones are distributed as those of others, by a monotonic curve each.

    Args:
        images: Bx1xHxW.
        others: films of other sources, in the same shape.
        strength: Bx1, from 0 for the own tones to 1 for the other film's.
    """
    levels = levels_of(images)
    found = torch.searchsorted(shares_below(levels_of(others)), shares_below(levels))
    theirs = found.clamp_(max=LEVELS - 1) * (2 / (LEVELS - 1)) - 1
    own = torch.linspace(-1, 1, LEVELS, device=images.device).expand_as(theirs)
    return torch.lerp(own, theirs, strength).gather(1, levels).view_as(images)


def local_means(images: Tensor) -> Tensor:
    """Return the mean of each pixel's surroundings, a sixteenth of the image wide."""
    return interpolate(adaptive_avg_pool2d(images, CELLS), images.shape[-2:], mode="bilinear")


def equalise(images: Tensor) -> Tensor:
    """Replace each tone by its rank: what no monotonic curve over the whole image can change."""
    levels = levels_of(images)
    return shares_below(levels).gather(1, levels).view_as(images) * 2 - 1


def level_locally(images: Tensor) -> Tensor:
    """Subtract the local mean and divide by the local spread, so that global tone is gone."""
    deviations = images - local_means(images)
    spread = local_means(deviations.square()).clamp(min=0).sqrt()
    return (deviations / (2 * (spread + LEAST_SPREAD))).clamp(-1, 1)


NORMALISATIONS: Final = {"none": None, "equalise": equalise, "local": level_locally}


class Normalisation(nn.Module):
    """One of `NORMALISATIONS`, as the first layer of a network."""

    def __init__(self, name: str = "none") -> None:
        super().__init__()
        self.change = NORMALISATIONS[name]

    def forward(self, images: Tensor) -> Tensor:
        """Return normalised images Bx1xHxW in [-1, 1]."""
        return self.change(images) if self.change else images
