"""Read the Display Shutter (PS3.3 C.7.6.11, C.7.6.15): what it hides is displayed black."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

Mask = NDArray[np.bool_]

LEAST_SHARE_OPEN: Final = 0.05  # of the image; a shutter that leaves less is ignored
_TRIED: Final = 128  # rows and columns on which that is tried
_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutter:
    """The hidden parts of an image: the union of what each shape hides.

    Attributes:
        rows: of the image.
        columns: of the image.
        names: of the shapes, as Shutter Shape has them.
        shapes: functions from row and column, counted from 1, to whether each is hidden.
    """

    rows: int
    columns: int
    names: tuple[str, ...]
    shapes: tuple[Callable[[NDArray[np.float64], NDArray[np.float64]], Mask], ...]

    def hidden(self, rows: int, columns: int) -> Mask:
        """Return what is hidden of the image, sampled or reduced to `rows` x `columns`."""
        down = (np.arange(rows) + 0.5) * self.rows / rows + 0.5
        across = (np.arange(columns) + 0.5) * self.columns / columns + 0.5
        mask = np.zeros((rows, columns), dtype=bool)
        for shape in self.shapes:
            mask |= shape(down[:, None], across[None, :])
        return mask


def read_shutter(dataset: Dataset, rows: int, columns: int) -> Shutter | None:
    """Read the shutter of an image; None if it has none that leaves something of the image.

    A shape that lacks its numbers, or that alone leaves next to nothing, is ignored.
    """
    names = dataset.get("ShutterShape")
    if not names:
        return None
    named = [names] if isinstance(names, str) else list(names)
    shapes = {}
    for name in dict.fromkeys(str(each).strip().upper() for each in named):
        shape = _READERS[name](dataset, rows, columns) if name in _READERS else None
        if shape is not None and _leaves_enough(rows, columns, (shape,)):
            shapes[name] = shape
    if not shapes or not _leaves_enough(rows, columns, tuple(shapes.values())):
        return None
    return Shutter(rows=rows, columns=columns, names=tuple(shapes), shapes=tuple(shapes.values()))


_Shape = Callable[[NDArray[np.float64], NDArray[np.float64]], Mask]


def _leaves_enough(rows: int, columns: int, shapes: tuple[_Shape, ...]) -> bool:
    hidden = Shutter(rows=rows, columns=columns, names=(), shapes=shapes).hidden(_TRIED, _TRIED)
    return float(1 - hidden.mean()) >= LEAST_SHARE_OPEN


def _rectangle(dataset: Dataset, rows: int, columns: int) -> _Shape | None:
    """Read a rectangle; an edge belongs to the shutter, unless it is an edge of the image."""
    edges = [
        _numbers(dataset, f"Shutter{side}Edge")
        for side in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
    ]
    if any(len(edge) != 1 for edge in edges):
        return None
    (left, right), (top, bottom) = (sorted(e[0] for e in edges[at : at + 2]) for at in (0, 2))
    left, top = (edge if edge > 1 else 0 for edge in (left, top))
    right = right if right < columns else columns + 1
    bottom = bottom if bottom < rows else rows + 1
    return lambda down, across: (
        (across <= left) | (across >= right) | (down <= top) | (down >= bottom)
    )


def _circle(dataset: Dataset, rows: int, columns: int) -> _Shape | None:  # noqa: ARG001 -- as others
    centre, radius = (
        _numbers(dataset, f"{what}OfCircularShutter") for what in ("Center", "Radius")
    )
    if len(centre) != 2 or len(radius) != 1 or radius[0] <= 0:  # noqa: PLR2004 -- row and column
        return None
    (row, column), reach = centre, radius[0]
    return lambda down, across: (down - row) ** 2 + (across - column) ** 2 > reach**2


def _polygon(dataset: Dataset, rows: int, columns: int) -> _Shape | None:
    numbers = _numbers(dataset, "VerticesOfThePolygonalShutter")
    if len(numbers) < 6 or len(numbers) % 2:  # noqa: PLR2004 -- three vertices
        return None
    # drawn once at the image's own size; Pillow counts pixels from 0, as (column, row)
    points = [
        (column - 1, row - 1) for row, column in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    drawn = Image.new("1", (columns, rows), 1)
    ImageDraw.Draw(drawn).polygon(points, fill=0, outline=0)
    return _looked_up(np.asarray(drawn))


def _overlay(dataset: Dataset, rows: int, columns: int) -> _Shape | None:
    """Read the overlay that Shutter Overlay Group names; its bits of 1 hide (C.7.6.15)."""
    group = int(next(iter(_numbers(dataset, "ShutterOverlayGroup")), 0))
    if group not in _OVERLAY_GROUPS:
        return None
    element = dataset.get((group, 0x3000))
    size = [int(dataset[group, each].value) for each in (0x10, 0x11) if (group, each) in dataset]
    data = element.value if element is not None else None
    if size != [rows, columns] or not isinstance(data, bytes) or len(data) * 8 < rows * columns:
        return None
    bits = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")[: rows * columns]
    return _looked_up(bits.reshape(rows, columns).astype(bool))


def _looked_up(mask: Mask) -> _Shape:
    def hidden(down: NDArray[np.float64], across: NDArray[np.float64]) -> Mask:
        at = np.clip(np.rint(down - 1).astype(int), 0, mask.shape[0] - 1)
        looked_up: Mask = mask[at, np.clip(np.rint(across - 1).astype(int), 0, mask.shape[1] - 1)]
        return looked_up

    return hidden


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return an element's numbers; none if one of them is not a number."""
    try:
        value = dataset[keyword].value
        values = [value] if isinstance(value, str | int | float) else list(value or ())
        return [float(each) for each in values]
    except (KeyError, TypeError, ValueError, OverflowError):
        return []


_READERS: Final[Mapping[str, Callable[[Dataset, int, int], _Shape | None]]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
    "BITMAP": _overlay,
}
