"""Reduce the attention map to a region, where the evidence for pneumonia is in one place."""

from collections.abc import Hashable, Mapping
from typing import Any, Final

import torch
from monai.transforms.transform import Transform
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

SIDE: Final = 56  # of the enlarged map; a finer one would pretend a resolution it does not have
LEAST_OF_PEAK: Final = 0.5  # of the peak's value; places above it belong to the peak
LEAST_SHARE: Final = 0.4  # of all evidence above the mean that the region must contain
LARGEST_AREA: Final = 0.3  # of the image that the region may cover

Region = tuple[float, float, float, float]  # top, left, bottom, right, as fractions of the image


class RegionOfAttention(Transform):
    """Add `region`: the box around the attention where it is concentrated, else None.

    Reads `attention`, 1xHxW, of one image; calibrated as the logit is, it is evidence for or
    against pneumonia. Evidence below `least_evidence`, a logit, counts as against; 0 where it is
    missing. The region states where the network looked; it is not the outline of a lesion.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with its region, which is None for outputs without attention."""
        if "attention" not in data:
            return {**data, "region": None}
        attention = torch.as_tensor(data["attention"])[0]
        region = find_region(enlarge(attention), least=float(data.get("least_evidence", 0)))
        return {**data, "region": region}


def enlarge(attention: Tensor, side: int = SIDE) -> Tensor:
    """Interpolate a coarse map hxw to side x side."""
    return interpolate(attention[None, None], (side, side), mode="bicubic", antialias=False)[0, 0]


def find_region(attention: Tensor, *, least: float = 0.0) -> Region | None:
    """Return the box around the peak of a map NxN, or None where the map is spread out.

    Only evidence above the map's own mean counts, because every place of a certain pneumonia has
    some. A map whose peak is not above `least` has no region.
    """
    if not attention.max() > least:
        return None
    positive = (attention - attention.mean()).clamp(min=0)
    if not positive.max() > 0:
        return None
    peak = _mask_of_peak(positive)
    rows, columns = (peak.any(axis).nonzero()[:, 0] for axis in (1, 0))
    height, width = attention.shape
    region = (
        float(rows[0]) / height,
        float(columns[0]) / width,
        float(rows[-1] + 1) / height,
        float(columns[-1] + 1) / width,
    )
    share = float(positive[peak].sum() / positive.sum())
    area = (region[2] - region[0]) * (region[3] - region[1])
    return region if share >= LEAST_SHARE and area <= LARGEST_AREA else None


def _mask_of_peak(positive: Tensor) -> Tensor:
    """Return the connected component of high values around the maximum, as a mask."""
    high = positive >= LEAST_OF_PEAK * positive.max()
    component = torch.zeros_like(positive)
    component.view(-1)[positive.argmax()] = 1
    while True:
        grown = max_pool2d(component[None, None], 3, 1, 1)[0, 0] * high
        if torch.equal(grown, component):
            return component.bool()
        component = grown
