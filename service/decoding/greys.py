"""Turn the stored values of a frame into samples: unsigned integers that a viewer can window.

The modality transform (PS3.3 C.11.1) is applied, or left as the line `value = slope * sample +
intercept` where it is one, so that nothing is rounded.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut

from service.decoding.pixel_data import Frame, UnshowableError
from service.domain.reasons import Reason

Samples = NDArray[np.uint16]
Integers = NDArray[np.int64]

WORDS: Final = 1 << 16
_BYTE: Final = 8  # bits
_STRIP_ROWS: Final = 256  # worked on at once, so that the intermediate results stay small
_GREYSCALE: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
_WEIGHTS: Final = (299, 587, 114)  # of red, green, blue in luminance, of 1000 (ITU-R BT.601)
_LEAST_LEFT: Final = 0.05  # of the image; padding that leaves less is a mistake in the header
_MOST_OF_THE_MIDDLE: Final = 0.25  # of the middle ninth, which a range may cover


@dataclass(frozen=True, slots=True, kw_only=True)
class Greys:
    """The samples of a radiograph.

    Attributes:
        samples: rows x columns.
        counts: how often each of the 65536 samples occurs in the image, without padding.
        slope: `value = slope * sample + intercept` is what the modality transform gives.
        intercept: as above.
        bits: of a stored value.
        span: the samples that the least and the largest possible value have, were they there.
        is_colour: whether they are the luminance of colours.
        padding: the first and last sample that is padding; None if there is none.
    """

    samples: Samples
    counts: Integers
    slope: float
    intercept: float
    bits: int
    span: tuple[int, int]
    is_colour: bool
    padding: tuple[int, int] | None = None

    def values(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values that samples stand for."""
        return np.asarray(self.slope * samples + self.intercept, dtype=np.float64)

    def reduced(self, factor: int) -> "Greys":
        """Return the same with each `factor` x `factor` samples replaced by their mean."""
        return self if factor == 1 else replace(self, samples=_reduced(self.samples, factor))


def greys_of(frame: Frame) -> Greys:
    """Convert the stored values of a frame, in grey, in colour or of a palette.

    Raises:
        UnshowableError: its photometric interpretation does not fit, or is not supported.
    """
    if frame.values.ndim > 2:  # noqa: PLR2004 -- rows and columns
        return _of_colours(frame)
    if frame.photometric == "PALETTE COLOR":
        return _of_palette(frame)
    if frame.photometric not in _GREYSCALE:
        raise UnshowableError(Reason.PIXEL_FORMAT)
    words = _words(frame)
    stored = _stored_values(frame)
    present = np.flatnonzero(_count(words))
    lowest = int(stored[present].min())
    if table := _modality_table(frame.dataset):
        return _tabulated(words, table.apply(stored), frame)
    slope, intercept = _line(frame.dataset)
    greys = replace(
        _tabulated(words, np.clip(stored - lowest, 0, WORDS - 1), frame),
        slope=slope,
        intercept=intercept + slope * lowest,
        span=_span(frame, lowest),
    )
    return _without_padding(greys, frame.dataset, lowest)


def _span(frame: Frame, lowest: int) -> tuple[int, int]:
    is_signed = frame.is_signed or frame.values.dtype.kind == "i"
    least = -(1 << frame.bits - 1) if is_signed else 0
    return least - lowest, least + (1 << frame.bits) - 1 - lowest


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpTable:
    """A look-up table (PS3.3 C.11.1.1.1): the first value that it maps, and its entries."""

    first: int
    entries: Integers
    is_whole: bool  # it has as many entries as it declares

    def apply(self, values: Integers) -> Integers:
        """Return the entries of values; beyond its ends, the entries there."""
        return self.entries[np.clip(values - self.first, 0, len(self.entries) - 1)]


def read_table(item: Dataset, *, signed: bool) -> LookUpTable | None:
    """Read a table of a Modality or VOI LUT Sequence; None if it has no usable entries.

    The entries that are there count, whatever number is declared. Those of 8 bits may be bytes.
    """
    try:
        number, first, bits = (int(value) for value in item.LUTDescriptor)
        declared, data = number or WORDS, item.LUTData
        if isinstance(data, bytes):
            is_packed = bits <= _BYTE and len(data) < 2 * declared
            entries = np.frombuffer(data, "u1" if is_packed else "<u2")
        else:
            entries = np.asarray(data if isinstance(data, (list, MultiValue)) else [data])
    except (AttributeError, TypeError, ValueError):
        return None
    if entries.size == 0:
        return None
    if signed and first >= WORDS // 2:  # written as US, as the VR of a descriptor may be
        first -= WORDS
    return LookUpTable(
        first=first,
        entries=entries[:declared].astype(np.int64) % WORDS,
        is_whole=entries.size >= declared,
    )


def _modality_table(dataset: Dataset) -> LookUpTable | None:
    sequence = dataset.get("ModalityLUTSequence")
    signed = bool(dataset.get("PixelRepresentation", 0))
    return read_table(sequence[0], signed=signed) if sequence else None


def _line(dataset: Dataset) -> tuple[float, float]:
    """Return Rescale Slope and Intercept; the identity where they are missing or no numbers."""
    try:
        slope = float(dataset.get("RescaleSlope", 1))
        intercept = float(dataset.get("RescaleIntercept", 0))
    except (TypeError, ValueError):
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)) or slope == 0:
        return 1.0, 0.0
    return slope, intercept


def _of_colours(frame: Frame) -> Greys:
    """Convert colours to their luminance."""
    values = frame.values
    if frame.is_signed or not frame.photometric.startswith(("RGB", "YBR_FULL")):
        raise UnshowableError(Reason.PIXEL_FORMAT)
    luminance = np.empty(values.shape[:2], np.uint16)
    for rows in _strips(len(values)):
        if frame.photometric.startswith("YBR"):
            luminance[rows] = values[rows, :, 0]
            continue
        weighted = values[rows].astype(np.uint32) * np.array(_WEIGHTS, np.uint32)
        luminance[rows] = (weighted.sum(axis=2) + 500) // 1000
    return Greys(
        samples=luminance,
        counts=_count(luminance),
        slope=1.0,
        intercept=0.0,
        bits=frame.bits,
        span=(0, (1 << frame.bits) - 1),
        is_colour=True,
    )


def _of_palette(frame: Frame) -> Greys:
    """Convert the numbers of colours to the luminance of these (PS3.3 C.7.6.3.1.5)."""
    words = _words(frame)
    numbers = np.arange(1 << frame.bits, dtype=np.uint16)[None]
    colours = apply_color_lut(numbers, frame.dataset)[0].astype(np.int64)
    luminance = (colours @ np.array(_WEIGHTS) + 500) // 1000
    table = luminance[np.arange(WORDS) % len(luminance)]
    bits = 8 if luminance.max() < 1 << 8 else 16
    greys = _tabulated(words, table, frame)
    return replace(greys, is_colour=True, bits=bits, span=(0, (1 << bits) - 1))


def _words(frame: Frame) -> Samples:
    """Return the values as unsigned words of 16 bits."""
    values = frame.values
    if values.dtype.itemsize == 1:
        sized = values.astype(np.int16 if values.dtype.kind == "i" else np.uint16)
        return np.asarray(sized.view(np.uint16))
    if values.dtype.itemsize > 2:  # noqa: PLR2004 -- bytes; a codestream of up to 16 bits
        return values.astype(np.int64).astype(np.uint16)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return np.asarray(np.ascontiguousarray(native).view(np.uint16))


def _stored_values(frame: Frame) -> Integers:
    """Return the stored value of each of the 65536 words."""
    words = np.arange(WORDS, dtype=np.int64)
    if frame.values.dtype.kind == "i":
        return (words ^ WORDS // 2) - WORDS // 2  # decoded with their sign
    mask, sign = (1 << frame.bits) - 1, 1 << frame.bits - 1
    if not frame.is_coded:  # the bits may be above others (PS3.5 8.1.1)
        high_bit = int(frame.dataset.get("HighBit", frame.bits - 1))
        words = words >> max(high_bit + 1 - frame.bits, 0) & mask
    return ((words & mask) ^ sign) - sign if frame.is_signed else words


def _tabulated(words: Samples, table: Integers, frame: Frame) -> Greys:
    """Return the greys that a table makes of words, their samples being the values."""
    narrow = table.astype(np.uint16)
    samples = np.empty(words.shape, np.uint16)
    for rows in _strips(len(words)):
        np.take(narrow, words[rows], out=samples[rows])
    return Greys(
        samples=samples,
        counts=_count(samples),
        slope=1.0,
        intercept=0.0,
        bits=frame.bits,
        span=(int(table.min()), int(table.max())),
        is_colour=False,
    )


def _without_padding(greys: Greys, dataset: Dataset, lowest: int) -> Greys:
    """Return the greys with their padding named and not counted (PS3.3 C.7.5.1.1.2)."""
    for low, high in _padding_ranges(dataset):
        first, last = (min(max(end - lowest, -1), WORDS) for end in (low, high))
        covered = int(greys.counts[max(first, 0) : last + 1].sum()) if last >= 0 else 0
        if covered == 0 or covered > (1 - _LEAST_LEFT) * greys.samples.size:
            continue
        if low != high and _covers_the_middle(greys.samples, first, last):
            continue
        counts = greys.counts.copy()
        counts[max(first, 0) : last + 1] = 0
        padding = max(first, 0), min(last, WORDS - 1)
        return replace(greys, counts=counts, padding=padding)
    return greys


def _padding_ranges(dataset: Dataset) -> Iterator[tuple[int, int]]:
    """Yield the range of padding as its numbers say, then as words of the other sign."""
    try:
        value = int(dataset["PixelPaddingValue"].value)
        limit = int(dataset.get("PixelPaddingRangeLimit", value))
    except (KeyError, TypeError, ValueError):
        return
    yield min(value, limit), max(value, limit)
    turned = [
        end - WORDS if end >= WORDS // 2 else end + WORDS if end < 0 else end
        for end in (value, limit)
    ]
    yield min(turned), max(turned)


def _covers_the_middle(samples: Samples, first: int, last: int) -> bool:
    rows, columns = (side // 3 for side in samples.shape)
    middle = samples[rows : 2 * rows, columns : 2 * columns]
    return float(((middle >= first) & (middle <= last)).mean()) > _MOST_OF_THE_MIDDLE


def _count(words: Samples) -> Integers:
    counts = np.zeros(WORDS, np.int64)
    for rows in _strips(len(words)):
        counts += np.bincount(words[rows].reshape(-1), minlength=WORDS)
    return counts


def _reduced(samples: Samples, factor: int) -> Samples:
    rows, columns = samples.shape
    starts = np.arange(0, columns, factor)
    widths = np.minimum(factor, columns - starts)
    means = np.empty((-(-rows // factor), len(starts)), np.uint16)
    for place, top in enumerate(range(0, rows, factor)):
        strip = samples[top : top + factor]
        sums = np.add.reduceat(strip.sum(axis=0, dtype=np.int64), starts)
        sizes = widths * len(strip)
        means[place] = (sums + sizes // 2) // sizes
    return means


def _strips(rows: int) -> Iterator[slice]:
    for top in range(0, rows, _STRIP_ROWS):
        yield slice(top, top + _STRIP_ROWS)
