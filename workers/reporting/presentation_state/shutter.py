"""The shutter of a source, which its presentation state has to repeat.

A viewer that applies a presentation state applies no other shutter than the state's (PS3.4 N.2);
without one, the border of the radiograph would be shown bright. It is black, as in the picture for
the model, whatever the source's Shutter Presentation Value says. A shutter that is a bitmap overlay
(C.7.6.15) is left out: it is rare, few viewers draw it, and it would take an overlay plane along.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydicom.dataset import Dataset

from workers.reporting.raw_elements import text_values
from workers.tones import Tones

NEEDED: Final[Mapping[str, Mapping[str, int]]] = {  # number of values by shape, C.7.6.11
    "RECTANGULAR": {
        "ShutterLeftVerticalEdge": 1,
        "ShutterRightVerticalEdge": 1,
        "ShutterUpperHorizontalEdge": 1,
        "ShutterLowerHorizontalEdge": 1,
    },
    "CIRCULAR": {"CenterOfCircularShutter": 2, "RadiusOfCircularShutter": 1},
    "POLYGONAL": {"VerticesOfThePolygonalShutter": 0},
}
FEWEST_OF_A_POLYGON: Final = 6  # three vertices
BLACK: Final = 0  # as a P-value, PS3.3 C.11.12


def display_shutter(header: Dataset, tones: Tones | None = None) -> Dataset:
    """Build Display Shutter and its presentation value (PS3.3 C.7.6.11, C.11.12).

    Returns:
        The module; empty if the source has no shutter. A shape without its numbers, and one that
        the bundle ignored, is left out.
    """
    shutter = Dataset()
    shapes = []
    for shape in dict.fromkeys(text_values(header, "ShutterShape")):
        numbers = {keyword: _integers(header, keyword) for keyword in NEEDED.get(shape, ())}
        is_applied = tones is None or shape in tones.shutters
        if (
            numbers
            and is_applied
            and all(_has_enough_values(shape, *entry) for entry in numbers.items())
        ):
            shapes.append(shape)
            if shape == "RECTANGULAR":
                numbers = _in_order(numbers)
            for keyword, values in numbers.items():
                setattr(shutter, keyword, list(values))
    if shapes:
        shutter.ShutterShape = shapes
        shutter.ShutterPresentationValue = BLACK
    return shutter


def _in_order(edges: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Exchange the edges of a rectangle that name its far side first."""
    left, right, upper, lower = edges.values()
    ordered = (*sorted((left, right)), *sorted((upper, lower)))
    return dict(zip(edges, ordered, strict=True))


def _has_enough_values(shape: str, keyword: str, values: tuple[int, ...]) -> bool:
    required = NEEDED[shape][keyword]
    if required:
        return len(values) == required
    return len(values) >= FEWEST_OF_A_POLYGON and len(values) % 2 == 0


def _integers(header: Dataset, keyword: str) -> tuple[int, ...]:
    """Return the values of an IS element; empty if one of them is not an integer."""
    values = text_values(header, keyword)
    if not all(re.fullmatch(r"[+-]?\d{1,9}", value) for value in values):
        return ()
    return tuple(int(value) for value in values)
