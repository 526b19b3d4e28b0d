"""Where the evidence for pneumonia lies, and a region only if it lies in one place."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import torch
from monai.transforms import Transform
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

SIDE: Final = 56  # of the map that a region is drawn on; finer would pretend
LEAST_OF_PEAK: Final = 0.5  # what counts as the same place
LEAST_SHARE: Final = 0.4  # of all evidence that stands out must lie in it
LARGEST_AREA: Final = 0.3  # of the picture it may take

Region = tuple[float, float, float, float]  # top, left, bottom, right, as shares of the picture


class RegionOfAttention(Transform):
    """Add `region`: the box around the attention where it is concentrated, else None.

    Reads `attention` of one radiograph, 1xHxW, whose mean is its logit. The calibration's
    temperature and bias make it evidence for or against at the calibrated scale. The region says
    where the network looked, never where a lesion ends.
    """

    def __init__(self, temperature: float, bias: float) -> None:
        self.temperature, self.bias = temperature, bias

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Give `data` with its region; outputs without attention have none."""
        if "attention" not in data:
            return {**data, "region": None}
        attention = torch.as_tensor(data["attention"])[0] / self.temperature + self.bias
        return {**data, "region": region_of(enlarged(attention))}


def enlarged(attention: Tensor, side: int = SIDE) -> Tensor:
    """Give a coarse map hxw as side x side, interpolated."""
    return interpolate(attention[None, None], (side, side), mode="bicubic", antialias=False)[0, 0]


def region_of(attention: Tensor) -> Region | None:
    """Give the box of the strongest place of a map NxN, or None where the map is spread out.

    What counts is evidence above the map's own mean: where pneumonia is certain, every place has
    some. A map whose highest place speaks against pneumonia has no region.
    """
    if not attention.max() > 0:
        return None
    positive = (attention - attention.mean()).clamp(min=0)
    if not positive.max() > 0:
        return None
    place = _place_of_peak(positive)
    rows, columns = (place.any(axis).nonzero()[:, 0] for axis in (1, 0))
    tall, wide = attention.shape
    region = (
        float(rows[0]) / tall,
        float(columns[0]) / wide,
        float(rows[-1] + 1) / tall,
        float(columns[-1] + 1) / wide,
    )
    share = float(positive[place].sum() / positive.sum())
    area = (region[2] - region[0]) * (region[3] - region[1])
    return region if share >= LEAST_SHARE and area <= LARGEST_AREA else None


def _place_of_peak(positive: Tensor) -> Tensor:
    """Give the connected place around the highest value, as a mask."""
    high = positive >= LEAST_OF_PEAK * positive.max()
    place = torch.zeros_like(positive)
    place.view(-1)[positive.argmax()] = 1
    while True:
        grown = max_pool2d(place[None, None], 3, 1, 1)[0, 0] * high
        if torch.equal(grown, place):
            return place.bool()
        place = grown
