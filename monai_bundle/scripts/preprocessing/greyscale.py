"""Compute the luminance of every stored value: the greyscale pipeline of PS3.3 C.11.

An image of 8 or 16 bits has at most 65,536 stored values, so masking, sign, modality transform,
VOI transform, padding and inversion are applied to a table of those, and the image is one look-up.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from scripts.preprocessing.pixel_header import PixelHeader, decimal, integer

FloatArray = NDArray[np.float32]
_Values = NDArray[np.float64]

LEAST_SHARE_INSIDE: Final = 0.25  # of the image; a VOI transform that keeps less is ignored
LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_LARGEST: Final = 1e12  # rescale parameters beyond it are ignored as invalid


def luminance_table(
    header: PixelHeader, dataset: Dataset, sample: NDArray[np.generic]
) -> FloatArray:
    """Return the luminance in [0, 1] of each of the 2**bits_allocated stored words.

    MONOCHROME1, and MONOCHROME2 with a Presentation LUT Shape of INVERSE, are inverted.

    Args:
        header: the image's pixel header.
        dataset: the elements of the modality and VOI transforms.
        sample: some of the image's words, of any shape; a VOI transform that would clip most of
            them is ignored.
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
    """Extract the stored bits of each word, extending the sign; other bits may hold overlays."""
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
    """Apply the Modality LUT Sequence, else a valid Rescale Slope and Intercept (C.11.1)."""
    if table := _lut(dataset, "ModalityLUTSequence", is_signed=bool(header.pixel_representation)):
        first, entries = table
        return entries[np.clip(stored - first, 0, len(entries) - 1)]
    slope, intercept = decimal(dataset, "RescaleSlope"), decimal(dataset, "RescaleIntercept")
    if slope is None or intercept is None or not 0 < abs(slope) < _LARGEST:
        return stored.astype(np.float64)
    if not abs(intercept) < _LARGEST:
        return stored.astype(np.float64)
    return stored.astype(np.float64) * slope + intercept


def _voi(dataset: Dataset, values: _Values, sample: _Values) -> _Values:
    """Apply the first VOI LUT, else the first window (C.11.2), else scale the whole range."""
    for transform in (_voi_lut, _window):
        if (bright := transform(dataset, values, sample)) is not None:
            return bright
    scaled: _Values = (values - values.min()) / np.ptp(values)
    return scaled


def _voi_lut(dataset: Dataset, values: _Values, sample: _Values) -> _Values | None:
    table = _lut(dataset, "VOILUTSequence", is_signed=bool(values.min() < 0))
    if table is None:
        return None
    first, entries = table
    last = first + len(entries) - 1
    if not np.ptp(entries) > 0 or not _is_mostly_inside(sample, first, last):
        return None
    looked_up: _Values = entries[np.clip(values - first, 0, len(entries) - 1).astype(np.int64)]
    bright: _Values = (looked_up - entries.min()) / np.ptp(entries)
    return bright


def _window(dataset: Dataset, values: _Values, sample: _Values) -> _Values | None:
    centre, width = decimal(dataset, "WindowCenter"), decimal(dataset, "WindowWidth")
    if centre is None or width is None or not 0 < width < _LARGEST:
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function == "LINEAR" and width > 1:  # C.11.2.1.2.1
        centre, width = centre - 0.5, width - 1
    if not _is_mostly_inside(sample, centre - width / 2, centre + width / 2):
        return None
    position = (values - centre) / width
    if function == "SIGMOID":  # C.11.2.1.3.1
        return 1 / (1 + np.exp(-4 * np.clip(position, -100, 100)))
    return np.clip(position + 0.5, 0, 1)


def _is_mostly_inside(sample: _Values, low: float, high: float) -> bool:
    """Return whether enough of the image lies between `low` and `high`; False for NaN."""
    return float(((sample >= low) & (sample <= high)).mean()) >= LEAST_SHARE_INSIDE


def _is_inverted(header: PixelHeader, dataset: Dataset) -> bool:
    """Return whether to invert; DX pairs MONOCHROME1 with INVERSE (C.8.11.3.1.1): once."""
    shape = str(dataset.get("PresentationLUTShape", "")).strip()
    return header.photometric_interpretation == "MONOCHROME1" or shape == "INVERSE"


def _is_padding(dataset: Dataset, stored: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which stored values are padding (C.7.5.1.1.2), which is displayed black."""
    value = integer(dataset, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = integer(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _lut(dataset: Dataset, keyword: str, *, is_signed: bool) -> tuple[int, _Values] | None:
    """Return the first mapped value and the entries of a sequence's first LUT (C.11.1.1)."""
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
    """Return LUT Data as numbers; it holds US values, or bytes of 8 or 16 bits per entry."""
    if isinstance(data, bytes):
        kind = "<u2" if len(data) >= 2 * count else "u1"
        return np.frombuffer(data, dtype=kind)[:count].astype(np.float64)
    return np.asarray(data, dtype=np.float64).ravel()[:count] % (1 << 16)
