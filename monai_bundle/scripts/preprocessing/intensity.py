"""Resize an image and normalise its intensities, as the network expects."""

import math
from collections.abc import Hashable, Mapping
from contextlib import suppress
from typing import Any, Final

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform

from scripts.refusal import RadiographRefusedError, RefusalCode

_BLANK: Final = 0.99  # share of the pixels that have one intensity


class ResizeToShaped(MapTransform):
    """Resize CxHxW float32 to `spatial_size` without keeping the aspect ratio.

    The training radiographs were published resized to a square, so every other input is treated
    the same way: the network was never trained on a chest in its true proportions. Interpolation
    is linear and antialiased: the filter is as wide as the reduction, so that every source pixel
    contributes.

    Args:
        keys: the items to resize.
        spatial_size: (rows, columns) in pixels, as for `LoadRadiographd`.
    """

    def __init__(self, keys: KeysCollection, spatial_size: tuple[int, int]) -> None:
        super().__init__(keys)
        self.spatial_size = (int(spatial_size[0]), int(spatial_size[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with each keyed image resized."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = torch.nn.functional.interpolate(
                result[key][None], self.spatial_size, mode="bilinear", antialias=True
            )[0]
        return result


class RefuseSaturatedd(MapTransform):
    """Refuse an image 1xHxW most of which is pure white or pure black.

    Of the available radiographs none is pure white over more than 4 % of its area, nor pure white
    or black over more than 46 %, black borders included; the limits leave room for bright borders.
    What is padding or behind a shutter does not count: `LoadRadiographd` says how much that is.

    Args:
        keys: the items to check.
        most_white: the largest share of white pixels, 0 to 1.
        most_pure: the largest share of white and black pixels together, 0 to 1.

    Raises:
        RadiographRefusedError: saturated-image.
    """

    def __init__(
        self, keys: KeysCollection, most_white: float = 0.35, most_pure: float = 0.75
    ) -> None:
        super().__init__(keys)
        self.most_white, self.most_pure = most_white, most_pure

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` unchanged."""
        for key in self.key_iterator(dict(data)):
            image = data[key]
            low, high = image.min(), image.max()
            margin = (high - low) / 256
            white = float((image >= high - margin).float().mean())
            black = float((image <= low + margin).float().mean())
            hidden = min(float(data.get(f"{key}_hidden", 0.0)), black)
            if hidden < 1:
                white, black = white / (1 - hidden), (black - hidden) / (1 - hidden)
            if max(white, black) > _BLANK:
                continue  # blank, which `IntensityPercentilesd` refuses
            if white > self.most_white or white + black > self.most_pure:
                raise RadiographRefusedError(
                    RefusalCode.SATURATED, f"{white:.0%} white, {black:.0%} black"
                )
        return dict(data)


class IntensityPercentilesd(MapTransform):
    """Scale the intensities between two percentiles to [-1, 1] and clip those beyond.

    Any two linear renderings of the same radiograph (another window, another number of bits)
    become the same tensor, except where the window itself clipped.

    Args:
        keys: the items to scale, images of any shape.
        lower: the percentile that becomes -1.
        upper: the percentile that becomes 1.

    Raises:
        RadiographRefusedError: blank-image, where the two percentiles are equal.
    """

    def __init__(self, keys: KeysCollection, lower: float = 1.0, upper: float = 99.0) -> None:
        super().__init__(keys)
        self.lower, self.upper = lower / 100, upper / 100

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with each keyed image scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = scale_percentiles(result[key], self.lower, self.upper)
        return result


def scale_percentiles(
    image: torch.Tensor, lower: float = 0.01, upper: float = 0.99
) -> torch.Tensor:
    """Scale the intensities of an image of any shape between two quantiles to [-1, 1]."""
    low, high = _quantile(image, lower), -_quantile(-image, 1 - upper)
    if not high - low > torch.finfo(torch.float16).tiny:
        raise RadiographRefusedError(RefusalCode.BLANK, "no tones between the percentiles")
    scaled: torch.Tensor = ((image - low) * (2 / (high - low)) - 1).clamp_(-1, 1)
    return scaled


def _quantile(image: torch.Tensor, share: float) -> torch.Tensor:
    """Return a low quantile as `torch.quantile` does, which sorts the whole image for it."""
    place = share * (image.numel() - 1)
    below, above = math.floor(place), math.ceil(place)
    numbers = image.detach().flatten().cpu().numpy()
    found = image.new_tensor(np.partition(numbers, (below, above))[[below, above]])
    return torch.lerp(found[0], found[1], place - below)


def scale_batch(images: torch.Tensor) -> torch.Tensor:
    """Scale each image of a batch Bx1xHxW in place as the preprocessing does; skip blank images."""
    for index, image in enumerate(images):
        with suppress(RadiographRefusedError):
            images[index] = scale_percentiles(image)
    return images
