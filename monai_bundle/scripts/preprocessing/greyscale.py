"""How bright each stored value is: the grey pipeline of PS3.3 C.11 worked out once per value.

An image of 8 or 16 bits has at most 65,536 stored values, so masking, sign, modality transform,
VOI transform, padding and inversion are done on a table of those, and the image is one look-up.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut

from scripts.preprocessing.pixel_header import PixelHeader, decimal, integer

FloatArray = NDArray[np.float32]
_Values = NDArray[np.float64]

LEAST_SHARE_INSIDE: Final = 0.25  # a VOI that clips more of the image than this keeps is absurd
LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_LARGEST: Final = 1e12  # beyond it a rescaled value is junk, not a radiograph


def grey_table(header: PixelHeader, dataset: Dataset, sample: NDArray[np.generic]) -> FloatArray:
    """Give the brightness in [0, 1] of each of the 2**bits_allocated stored words.

    `sample` holds some of the image's words: a VOI transform that would clip most of them is not
    used. MONOCHROME1, and MONOCHROME2 with a Presentation LUT Shape of INVERSE, come out inverted.
    """
    words = np.arange(1 << header.bits_allocated)
    stored = _stored_values(header, words)
    if header.photometric_interpretation == "PALETTE COLOR":
        return _palette(dataset, stored)
    values = _modality(header, dataset, stored)
    bright = _voi(dataset, values, values[sample.ravel()])
    if _is_inverted(header, dataset):
        bright = 1 - bright
    bright[_is_padding(dataset, stored)] = 0
    return bright.astype(np.float32)


def _stored_values(header: PixelHeader, words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take the stored bits out of each word (others may hold overlays), extending the sign."""
    mask = (1 << header.bits_stored) - 1
    values = (words >> (header.high_bit + 1 - header.bits_stored)) & mask
    if header.pixel_representation:
        sign = 1 << (header.bits_stored - 1)
        values = (values ^ sign) - sign
    return values


def _palette(dataset: Dataset, stored: NDArray[np.int64]) -> FloatArray:
    kind = np.uint8 if stored.max() <= np.iinfo(np.uint8).max else np.uint16
    colours = apply_color_lut(stored.astype(kind), dataset)[..., :3]
    return (colours / np.float32(np.iinfo(colours.dtype).max)).astype(np.float32) @ LUMA


def _modality(header: PixelHeader, dataset: Dataset, stored: NDArray[np.int64]) -> _Values:
    """Apply the Modality LUT Sequence, else Rescale Slope and Intercept; skip junk (C.11.1)."""
    if table := _lut(dataset, "ModalityLUTSequence", is_signed=bool(header.pixel_representation)):
        first, entries = table
        return entries[np.clip(stored - first, 0, len(entries) - 1)]
    slope, intercept = decimal(dataset, "RescaleSlope"), decimal(dataset, "RescaleIntercept")
    if slope is None or intercept is None or not 0 < abs(slope) < _LARGEST:
        return stored.astype(np.float64)
    if not abs(intercept) < _LARGEST:
        return stored.astype(np.float64)
    return stored * slope + intercept


def _voi(dataset: Dataset, values: _Values, sample: _Values) -> _Values:
    """Apply the first VOI LUT, else the first window (C.11.2), else stretch the whole range."""
    if table := _lut(dataset, "VOILUTSequence", is_signed=bool(values.min() < 0)):
        first, entries = table
        last = first + len(entries) - 1
        if np.ptp(entries) > 0 and _share_inside(sample, first, last):
            looked_up = entries[np.clip(values - first, 0, len(entries) - 1).astype(np.int64)]
            return (looked_up - entries.min()) / np.ptp(entries)
    centre, width = decimal(dataset, "WindowCenter"), decimal(dataset, "WindowWidth")
    if centre is not None and width is not None and 0 < width < _LARGEST:
        function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
        if function == "LINEAR" and width > 1:  # C.11.2.1.2.1
            centre, width = centre - 0.5, width - 1
        if _share_inside(sample, centre - width / 2, centre + width / 2):
            position = (values - centre) / width
            if function == "SIGMOID":  # C.11.2.1.3.1
                return 1 / (1 + np.exp(-4 * np.clip(position, -100, 100)))
            return np.clip(position + 0.5, 0, 1)
    return (values - values.min()) / np.ptp(values)


def _share_inside(sample: _Values, low: float, high: float) -> bool:
    """Tell whether enough of the image lies between `low` and `high`; NaN says no."""
    return float(((sample >= low) & (sample <= high)).mean()) >= LEAST_SHARE_INSIDE


def _is_inverted(header: PixelHeader, dataset: Dataset) -> bool:
    """MONOCHROME1 goes with INVERSE in the DX IOD (C.8.11.3.1.1): it inverts once, not twice."""
    shape = str(dataset.get("PresentationLUTShape", "")).strip()
    return header.photometric_interpretation == "MONOCHROME1" or shape == "INVERSE"


def _is_padding(dataset: Dataset, stored: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which stored values are padding (C.7.5.1.1.2); padding is shown black."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = integer(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _lut(dataset: Dataset, keyword: str, *, is_signed: bool) -> tuple[int, _Values] | None:
    """Give the first mapped value and the entries of a LUT sequence's first item (C.11.1.1)."""
    items = dataset.get(keyword)
    if not isinstance(items, Sequence) or len(items) == 0:
        return None
    descriptor, data = items[0].get("LUTDescriptor"), items[0].get("LUTData")
    if descriptor is None or data is None or len(descriptor) != 3:  # noqa: PLR2004 -- C.11.1.1
        return None
    count, first = (int(value) & 0xFFFF for value in descriptor[:2])
    count = count or 1 << 16
    if is_signed and first >= 1 << 15:
        first -= 1 << 16
    entries = _lut_entries(data, count)
    return None if len(entries) != count else (first, entries)


def _lut_entries(data: object, count: int) -> _Values:
    """Give LUT Data as numbers: US values, or bytes of 8 or 16 bits an entry."""
    if isinstance(data, bytes):
        kind = "<u2" if len(data) >= 2 * count else "u1"
        return np.frombuffer(data, dtype=kind)[:count].astype(np.float64)
    return np.asarray(data, dtype=np.float64).ravel()[:count] % (1 << 16)
