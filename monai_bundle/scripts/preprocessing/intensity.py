"""From an image of any size to the network's own: area-true resizing, window-proof tones."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from scripts.refusal import Code, UnreadableRadiographError

_BLANK: Final = 0.99  # of the pixels in one tone


class SquashResized(MapTransform):
    """Resize CxHxW float32 to `spatial_size`, antialiased, without keeping the aspect ratio.

    The training radiographs are published squashed to a square, so every other input is squashed
    as well: what the network never saw is a chest in its true proportions. Interpolation is
    linear with a filter as wide as the reduction, so that every source pixel counts and nothing
    aliases, whatever the size of the source.
    """

    def __init__(self, keys: KeysCollection, spatial_size: tuple[int, int] | int) -> None:
        super().__init__(keys)
        size = (spatial_size, spatial_size) if isinstance(spatial_size, int) else spatial_size
        self.spatial_size = (int(size[0]), int(size[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give `data` with each keyed image resized."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = torch.nn.functional.interpolate(
                result[key][None], self.spatial_size, mode="bilinear", antialias=True
            )[0]
        return result


class RefuseSaturatedd(MapTransform):
    """Refuse an image most of which is pure white or pure black: what was there is gone.

    Of the radiographs at hand none is pure white over more than 4 % of its area, nor pure white or
    black over more than 46 %, black borders included; the limits leave room for bright borders.
    Raises UnreadableRadiographError(saturated-image).
    """

    def __init__(
        self, keys: KeysCollection, most_white: float = 0.35, most_pure: float = 0.75
    ) -> None:
        super().__init__(keys)
        self.most_white, self.most_pure = most_white, most_pure

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give `data` as it is, each keyed image 1xHxW having tones."""
        for key in self.key_iterator(dict(data)):
            image = data[key]
            low, high = image.min(), image.max()
            margin = (high - low) / 256
            white = float((image >= high - margin).float().mean())
            black = float((image <= low + margin).float().mean())
            if max(white, black) > _BLANK:
                continue  # not burnt out but blank, as the tones will show
            if white > self.most_white or white + black > self.most_pure:
                raise UnreadableRadiographError(
                    Code.SATURATED, f"{white:.0%} white, {black:.0%} black"
                )
        return dict(data)


class TonePercentilesd(MapTransform):
    """Stretch the tones between two percentiles to -1 … 1 and clip what lies beyond.

    Any two linear renderings of the same radiograph (another window, another number of bits)
    become the same tensor, except where the window itself clipped.
    Raises UnreadableRadiographError(blank-image) where the two percentiles are equal.
    """

    def __init__(self, keys: KeysCollection, lower: float = 1.0, upper: float = 99.0) -> None:
        super().__init__(keys)
        self.lower, self.upper = lower / 100, upper / 100

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give `data` with each keyed image stretched."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = stretched(result[key], self.lower, self.upper)
        return result


def stretched(image: torch.Tensor, lower: float = 0.01, upper: float = 0.99) -> torch.Tensor:
    """Give an image of any shape with the tones between two quantiles stretched to -1 … 1."""
    low, high = torch.quantile(image.flatten(), torch.tensor([lower, upper]))
    if not high - low > torch.finfo(torch.float16).tiny:
        raise UnreadableRadiographError(Code.BLANK, "no tones between the percentiles")
    return ((image - low) * (2 / (high - low)) - 1).clamp_(-1, 1)
