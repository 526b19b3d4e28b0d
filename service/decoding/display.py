"""How a radiograph is shown when nobody has chosen a window yet, and with which others it may be.

The greyscale pipeline of PS3.3 C.11: the first VOI LUT or window of the header that keeps some of
the image apart, else a window around its values; then the inversion of MONOCHROME1.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from service.decoding.greys import WORDS, Greys, read_table

Levels = NDArray[np.uint8]
Curve = NDArray[np.float64]

WHITE: Final = 255
CURVE_POINTS: Final = 256  # of a VOI LUT as a viewer gets it, evenly spaced
_LEAST_APART: Final = 0.25  # of the image that must lie inside a window or table
_LEAST_MAPPED: Final = 0.99  # of the image, by a table that lacks entries
_TAILS: Final = (0.01, 0.99)  # of the values, which an automatic window leaves outside
_BYTE: Final = 8  # bits: such images are shown whole
_MOST_WINDOWS: Final = 8
_LONGEST_NAME: Final = 64
_FUNCTIONS: Final = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window (PS3.3 C.11.2.1.2), in the values that the modality transform gives."""

    centre: float
    width: float
    function: str = "LINEAR"
    name: str = ""  # its explanation in the header

    def levels(self, values: Curve) -> Curve:
        """Return the brightness of values, from 0 to 1."""
        if self.function == "SIGMOID":
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.centre) / self.width, -700, 700)))
        centre, width = self.centre, self.width
        if self.function == "LINEAR":
            centre, width = centre - 0.5, width - 1
        if width <= 0:
            return np.where(values <= centre, 0.0, 1.0)
        return np.clip((values - centre) / width + 0.5, 0, 1)

    def holds(self, values: Curve) -> NDArray[np.bool_]:
        """Return which values lie inside."""
        return np.abs(values - self.centre) <= self.width / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A VOI LUT (PS3.3 C.11.2.1.1): brightness from 0 to 255 at evenly spaced values."""

    first: float
    last: float
    levels: tuple[int, ...]

    def at(self, values: Curve) -> Curve:
        """Return the brightness of values, from 0 to 1."""
        places = np.linspace(self.first, self.last, len(self.levels))
        return np.interp(values, places, np.asarray(self.levels) / WHITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Display:
    """The tones of a radiograph.

    Attributes:
        window: the one that it is shown with, or the range of the table.
        source: of the window: `header`, `table` or `automatic`.
        table: the VOI LUT that it is shown with.
        windows: all usable ones of the header, in their order.
        automatic: the window that leaves out the outermost hundredths of the values.
        inverted: whether the least value is white.
    """

    window: Window
    source: str
    table: Table | None
    windows: tuple[Window, ...]
    automatic: Window
    inverted: bool

    def levels(self, greys: Greys) -> Levels:
        """Return the brightness of each of the 65536 samples, 0 black to 255 white."""
        values = greys.values(np.arange(WORDS))
        shown = self.window.levels(values) if self.table is None else self.table.at(values)
        levels = np.rint(shown * WHITE).astype(np.uint8)
        if self.inverted:
            levels = WHITE - levels
        if greys.padding is not None:
            levels[greys.padding[0] : greys.padding[1] + 1] = 0
        return levels

    def description(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def display_of(dataset: Dataset, greys: Greys) -> Display:
    """Choose the tones of a radiograph from its header and its values."""
    values = greys.values(np.arange(WORDS))
    shares = greys.counts / max(1, int(greys.counts.sum()))
    automatic = _automatic(greys)
    windows = tuple(
        each for each in _windows(dataset) if shares[each.holds(values)].sum() >= _LEAST_APART
    )
    chosen = windows[0] if windows else automatic
    source = "header" if windows else "automatic"
    table = _table(dataset, values, shares)
    if table is not None:
        width = table.last - table.first + 1
        chosen, source = Window(centre=(table.first + table.last + 1) / 2, width=width), "table"
    return Display(
        window=chosen,
        source=source,
        table=table,
        windows=windows,
        automatic=automatic,
        inverted=not greys.is_colour and _is_inverted(dataset),
    )


def _is_inverted(dataset: Dataset) -> bool:
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    return photometric == "MONOCHROME1" or dataset.get("PresentationLUTShape") == "INVERSE"


def _windows(dataset: Dataset) -> Iterator[Window]:
    centres, widths = (_numbers(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    names = _texts(dataset.get("WindowCenterWidthExplanation"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function not in _FUNCTIONS:
        function = "LINEAR"
    least = 1 if function == "LINEAR" else 0
    for place, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        if place < _MOST_WINDOWS and math.isfinite(centre + width) and width > 0 and width >= least:
            name = names[place][:_LONGEST_NAME] if place < len(names) else ""
            yield Window(centre=centre, width=width, function=function, name=name)


def _numbers(value: Any) -> list[float]:  # noqa: ANN401 -- whatever the header has
    try:
        return [float(each) for each in _listed(value)]
    except (TypeError, ValueError):
        return []


def _texts(value: Any) -> list[str]:  # noqa: ANN401 -- as above
    return [str(each) for each in _listed(value)]


def _listed(value: Any) -> list[Any]:  # noqa: ANN401 -- as above
    if value is None:
        return []
    return list(value) if isinstance(value, (list, MultiValue)) else [value]


def _automatic(greys: Greys) -> Window:
    """Return a window around the values: all of 8 bits, else without the outermost of each end."""
    samples = np.array(greys.span)
    if greys.bits > _BYTE:
        totals = np.cumsum(greys.counts)
        samples = np.searchsorted(totals, np.array(_TAILS) * totals[-1])
    low, high = sorted(float(each) for each in greys.values(samples))
    return Window(centre=(low + high + 1) / 2, width=max(high - low + 1, 2.0))


def _table(dataset: Dataset, values: Curve, shares: Curve) -> Table | None:
    """Return the first VOI LUT of the header that keeps enough of the image apart."""
    signed = bool(dataset.get("PixelRepresentation", 0)) or float(values.min()) < 0
    for item in dataset.get("VOILUTSequence") or ():
        found = read_table(item, signed=signed)
        if found is None:
            continue
        low, high = int(found.entries.min()), int(found.entries.max())
        if low == high:
            continue
        entries = (found.entries - low) / (high - low)
        last = found.first + len(entries) - 1
        mapped = shares[(values >= found.first) & (values <= last)].sum()
        if not found.is_whole and mapped < _LEAST_MAPPED:
            continue
        apart = np.interp(values, np.arange(found.first, last + 1), entries)
        if shares[(apart > 0) & (apart < 1)].sum() < _LEAST_APART:
            continue
        places = np.linspace(found.first, last, min(CURVE_POINTS, len(entries)))
        curve = np.interp(places, np.arange(found.first, last + 1), entries)
        levels = tuple(int(each) for each in np.rint(curve * WHITE))
        return Table(first=found.first, last=last, levels=levels)
    return None
