"""Compute the luminance of every stored value: the greyscale pipeline of PS3.3 C.11.

An image of 8 or 16 bits has at most 65,536 stored values, so masking, sign, modality transform,
VOI transform, padding and inversion are applied to a table of those, and the image is one look-up.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from scripts.preprocessing.lookup_table import LookUpTable, read_tables
from scripts.preprocessing.padding import padding_mask
from scripts.preprocessing.pixel_header import PixelHeader, decimal
from scripts.preprocessing.shutter import Shutter, read_shutter

FloatArray = NDArray[np.float32]
_Values = NDArray[np.float64]

LEAST_SHARE_INSIDE: Final = 0.25  # of the image; a VOI transform that keeps less is ignored
LUMA: Final = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_MOST: Final = (2, 98)  # percentiles between which most of the anatomy lies
_BORDER: Final = 0.02  # of the image: as many pixels at one end of the range are a border
_FENCE: Final = 0.5  # of their distance: what is further away is no anatomy
_FILLED: Final = 0.5  # of the range of the values; an image that fills more is shown as it is
_LARGEST: Final = 1e12  # rescale parameters beyond it are ignored as invalid
_WHITE: Final = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window (PS3.3 C.11.2.1.2), in the values that the modality transform gives."""

    centre: float
    width: float
    function: str  # a VOI LUT Function; empty if none is said, which is LINEAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A look-up table: the first value that it maps, and entries of 16 bits."""

    first: int
    entries: NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tones:
    """The transforms with which a greyscale image is shown: for a presentation state of it.

    Attributes:
        modality: the table of the modality transform; None where it is a rescaling, or nothing.
        voi: the VOI transform. The entries of a table run from 0, black, to 65535.
        presentation: the Presentation LUT, from 0 to 65535; None if there is none.
        shutters: the shapes of the shutter that are applied.
        hidden: the share of the image that is padding or behind the shutter, 0 to 1.
    """

    modality: Table | None
    voi: Window | Table
    presentation: Table | None
    shutters: tuple[str, ...]
    hidden: float

    def described(self) -> dict[str, Any]:
        """Return the tones in mappings and lists of plain values.

        Returns:
            `window`: centre, width and function, or None; `first`: the first value that each table
            maps, under modality, voi and presentation; `entries`: those of the tables, as arrays,
            under the same names; `shutters`: the names of the shapes.
        """
        tables = {"modality": self.modality, "voi": self.voi, "presentation": self.presentation}
        found = {name: each for name, each in tables.items() if isinstance(each, Table)}
        return {
            "window": asdict(self.voi) if isinstance(self.voi, Window) else None,
            "first": {name: table.first for name, table in found.items()},
            "entries": {name: table.entries for name, table in found.items()},
            "shutters": list(self.shutters),
        }


def luminance_table(
    header: PixelHeader,
    dataset: Dataset,
    sample: NDArray[np.generic],
    largest: int | None = None,
) -> tuple[FloatArray, Tones | None]:
    """Return the luminance in [0, 1] of each stored word that can occur, and the tones.

    MONOCHROME1, and MONOCHROME2 with a Presentation LUT Shape of INVERSE, are inverted.

    Args:
        header: the image's pixel header.
        dataset: the elements of the modality and VOI transforms.
        sample: some of the image's words. Two-dimensional, it covers the whole image evenly, and
            what a shutter hides of it is left out. A VOI transform that would clip most of the
            anatomy is ignored.
        largest: the largest of the image's words, if it is known.

    Returns:
        The table, and the transforms that made it; None for a palette.
    """
    words = np.arange(1 << _bits_needed(header, largest))
    stored = _stored_values(header, words)
    if header.photometric_interpretation == "PALETTE COLOR":
        return _palette(dataset, stored), None
    padding = padding_mask(header, dataset, stored, sample)
    shutter = read_shutter(dataset, header.rows, header.columns)
    anatomy = sample[~(padding[sample] | _hidden(shutter, sample))]
    values, modality = _modality(header, dataset, stored, anatomy)
    is_part = anatomy.size < sample.size
    bright, voi = _voi(header, dataset, values, values[anatomy], is_part=is_part)
    bright, presentation = _presentation(header, dataset, bright)
    bright[padding] = 0
    tones = Tones(
        modality=modality,
        voi=voi,
        presentation=presentation,
        shutters=() if shutter is None else shutter.names,
        hidden=1 - anatomy.size / sample.size if sample.size else 0.0,
    )
    return bright.astype(np.float32), tones


def _bits_needed(header: PixelHeader, largest: int | None) -> int:
    """Return how many bits a word has: those that are stored where the others are never set."""
    is_lowest = header.high_bit + 1 == header.bits_stored
    if largest is not None and is_lowest and largest < 1 << header.bits_stored:
        return header.bits_stored
    return header.bits_allocated


def _hidden(shutter: Shutter | None, sample: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return which words of the sample are behind the shutter."""
    if shutter is None or sample.ndim != 2:  # noqa: PLR2004 -- else it is no picture
        return np.zeros(sample.shape, dtype=bool)
    return shutter.hidden(*sample.shape)


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


def _modality(
    header: PixelHeader,
    dataset: Dataset,
    stored: NDArray[np.int64],
    anatomy: NDArray[np.generic],
) -> tuple[_Values, Table | None]:
    """Apply the Modality LUT Sequence, else a valid Rescale Slope and Intercept (C.11.1)."""
    for table in read_tables(
        header, dataset, "ModalityLUTSequence", is_signed=bool(header.pixel_representation)
    ):
        if (repaired := table.repaired(stored[anatomy])) is not None:
            entries = repaired.entries.astype(np.uint16)
            return repaired.look_up(stored), Table(first=repaired.first, entries=entries)
    slope, intercept = decimal(dataset, "RescaleSlope"), decimal(dataset, "RescaleIntercept")
    if slope is None or intercept is None or not 0 < abs(slope) < _LARGEST:
        return stored.astype(np.float64), None
    if not abs(intercept) < _LARGEST:
        return stored.astype(np.float64), None
    return stored.astype(np.float64) * slope + intercept, None


def _voi(
    header: PixelHeader, dataset: Dataset, values: _Values, sample: _Values, *, is_part: bool
) -> tuple[_Values, Window | Table]:
    """Apply the first VOI LUT, else the first window (C.11.2), else automatic levels."""
    if (by_table := _voi_lut(header, dataset, values, sample)) is not None:
        return by_table
    if (by_window := _window(dataset, values, sample)) is not None:
        return by_window
    low, high = automatic_levels(header, values, sample, is_part=is_part)
    levels = Window(centre=(low + high) / 2 + 0.5, width=high - low + 1, function="")
    return np.clip((values - low) / (high - low), 0, 1), levels


def automatic_levels(
    header: PixelHeader, values: _Values, sample: _Values, *, is_part: bool = False
) -> tuple[float, float]:
    """Return the values that become black and white where no VOI transform says it.

    The whole range of the values where the image has 8 bits, or fills half of it and has no border.
    Otherwise the least and the largest value of the image, but none that is further from most of
    it than half its width: a hot pixel and a marker are. A border of one value does not count, as
    padding and what a shutter hides do not: all three give the same levels.

    Args:
        header: the image's pixel header.
        values: all values that a pixel can have.
        sample: values of the anatomy: without padding, and without what a shutter hides.
        is_part: whether something of the image is left out of the sample.
    """
    low, high = float(values.min()), float(values.max())
    eight = np.iinfo(np.uint8).bits
    if header.bits_stored <= eight or not sample.size or not high > low:
        return low, high if high > low else low + 1
    rest = _without_border(sample)
    first, last = (float(each) for each in np.percentile(rest, _MOST))
    reach = (last - first) * _FENCE
    least = max(float(rest.min()), first - reach)
    largest = min(float(rest.max()), last + reach)
    is_whole = not is_part and rest.size == sample.size
    fills = largest - least >= (high - low) * _FILLED
    return (low, high) if not largest > least or (is_whole and fills) else (least, largest)


def _without_border(sample: _Values) -> _Values:
    """Leave the least or the largest value out where so many pixels have it that it is a border."""
    rest = sample
    for end in (sample.min(), sample.max()):
        without = rest[rest != end]
        is_border = (rest.size - without.size) >= _BORDER * sample.size
        if is_border and without.size >= LEAST_SHARE_INSIDE * sample.size:
            rest = without
    return rest


def _voi_lut(
    header: PixelHeader, dataset: Dataset, values: _Values, sample: _Values
) -> tuple[_Values, Table] | None:
    """Apply the first VOI LUT that keeps enough of the image apart, stretched to its own range."""
    for table in read_tables(header, dataset, "VOILUTSequence", is_signed=bool(values.min() < 0)):
        repaired = table.repaired(sample)
        if repaired is None or not np.ptp(looked_up := repaired.look_up(values)) > 0:
            continue
        shown = repaired.look_up(sample)
        least, largest = repaired.entries.min(), repaired.entries.max()
        inside = (shown > least) & (shown < largest)
        if not shown.size or inside.mean() >= LEAST_SHARE_INSIDE:
            return (looked_up - least) / (largest - least), _stretched(repaired)
    return None


def _stretched(table: LookUpTable) -> Table:
    """Return a table with its own range of entries stretched to 16 bits."""
    least, largest = table.entries.min(), table.entries.max()
    entries = np.rint((table.entries - least) * _WHITE / (largest - least)).astype(np.uint16)
    return Table(first=table.first, entries=entries)


def _window(dataset: Dataset, values: _Values, sample: _Values) -> tuple[_Values, Window] | None:
    centre, width = decimal(dataset, "WindowCenter"), decimal(dataset, "WindowWidth")
    if centre is None or width is None or not 0 < width < _LARGEST:
        return None
    function = str(dataset.get("VOILUTFunction") or "").strip().upper()
    is_linear = function in {"", "LINEAR"} and width > 1
    if not is_linear and function != "SIGMOID":
        function = "LINEAR_EXACT"
    window = Window(centre=centre, width=width, function=function)
    if is_linear:  # C.11.2.1.2.1
        centre, width = centre - 0.5, width - 1
    if not _is_mostly_inside(sample, centre - width / 2, centre + width / 2):
        return None
    position = (values - centre) / width
    if function == "SIGMOID":  # C.11.2.1.3.1
        return 1 / (1 + np.exp(-4 * np.clip(position, -100, 100))), window
    return np.clip(position + 0.5, 0, 1), window


def _is_mostly_inside(sample: _Values, low: float, high: float) -> bool:
    """Return whether enough of the image lies between `low` and `high`; False for NaN."""
    return (
        not sample.size or float(((sample >= low) & (sample <= high)).mean()) >= LEAST_SHARE_INSIDE
    )


def _is_inverted(header: PixelHeader, dataset: Dataset) -> bool:
    """Return whether to invert; DX pairs MONOCHROME1 with INVERSE (C.8.11.3.1.1): once."""
    shape = str(dataset.get("PresentationLUTShape", "")).strip().upper()
    return header.photometric_interpretation == "MONOCHROME1" or shape == "INVERSE"


def _presentation(
    header: PixelHeader, dataset: Dataset, bright: _Values
) -> tuple[_Values, Table | None]:
    """Apply the Presentation LUT Sequence (C.11.4), else invert where the image says so."""
    for table in read_tables(header, dataset, "PresentationLUTSequence", is_signed=False):
        least, largest = table.entries.min(), table.entries.max()
        if largest > least:
            at = np.rint(bright * (len(table.entries) - 1)).astype(np.int64)
            return (table.entries[at] - least) / (largest - least), _stretched(table)
    return 1 - bright if _is_inverted(header, dataset) else bright, None
