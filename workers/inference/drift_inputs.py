"""Find the groups of an instance in what is watched for drift, from its header and its pixels."""

from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from service.domain.monitoring.inputs import (
    DriftInput,
    InputGroups,
    manufacturer_group,
    number_group,
    view_group,
)
from workers.inference.model_io import Pixels

_KEYWORDS: Final = (
    *("Manufacturer", "ViewPosition", "KVP", "Rows", "Columns"),
    *("Exposure", "ExposureInuAs", "ExposureTime", "XRayTubeCurrent"),
)
_TAGS: Final = tuple(map(Tag, _KEYWORDS))
_LONGEST_TEXT: Final = 64  # PS3.5 table 6.2-1, of LO


def drift_inputs(header: Dataset, tensor: Pixels) -> InputGroups:
    """Return the groups of an instance; what its header does not say is `not stated`.

    Args:
        header: of the instance; its elements stay undecoded.
        tensor: the network's input.
    """
    stated = _copied(header)
    sides = [_number(stated, "Rows"), _number(stated, "Columns")]
    return InputGroups(
        manufacturer=manufacturer_group(_text(stated, "Manufacturer")),
        view=view_group(_text(stated, "ViewPosition")),
        kvp=number_group(DriftInput.KVP, _positive(_number(stated, "KVP"))),
        exposure=number_group(DriftInput.EXPOSURE, _exposure(stated)),
        size=number_group(
            DriftInput.SIZE, max((side for side in sides if side is not None), default=None)
        ),
        tone=number_group(DriftInput.TONE, tone(tensor)),
    )


def tone(tensor: Pixels) -> float | None:
    """Return the mean of an input as a share of the range between its extremes; None if blank."""
    low, high = float(np.min(tensor)), float(np.max(tensor))
    if not high > low:
        return None
    return (float(np.mean(tensor, dtype=np.float64)) - low) / (high - low)


def _copied(header: Dataset) -> Dataset:
    """Copy what is read, because reading decodes, and the report is written from what is not."""
    present = (tag for tag in _TAGS if tag in header)
    return Dataset({BaseTag(tag): header.get_item(tag, keep_deferred=True) for tag in present})


def _exposure(stated: Dataset) -> float | None:
    """Return the exposure in mAs: as it is stated, or as current and time say (PS3.3 C.8.7.2)."""
    in_mas, in_uas = _number(stated, "Exposure"), _number(stated, "ExposureInuAs")
    if _positive(in_uas) is not None and in_uas is not None:
        return in_uas / 1000
    if _positive(in_mas) is not None:
        return in_mas
    current, time = _number(stated, "XRayTubeCurrent"), _number(stated, "ExposureTime")
    if current is None or time is None:  # mA, ms
        return None
    return _positive(current * time / 1000)


def _positive(number: float | None) -> float | None:
    return number if number is not None and number > 0 else None


def _number(stated: Dataset, keyword: str) -> float | None:
    try:
        return float(_text(stated, keyword))
    except ValueError:
        return None


def _text(stated: Dataset, keyword: str) -> str:
    """Read a value; one that cannot be read counts as absent."""
    try:
        value = stated.get(keyword)
    except Exception:  # noqa: BLE001 -- a broken value makes pydicom raise many kinds
        return ""
    return "" if value is None else str(value)[:_LONGEST_TEXT].strip()
