"""The shutter of a source, which a presentation state has to repeat: else its border glares.

A viewer that applies a presentation state shows no shutter but the state's (PS3.4 N.2).
"""

import re
from collections.abc import Mapping
from typing import Final

from pydicom.dataset import Dataset

from workers.reporting.raw_elements import unsigned_short, words

NEEDED: Final[Mapping[str, Mapping[str, int]]] = {  # of each shape, and how many values, C.7.6.11
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


def display_shutter(header: Dataset) -> Dataset:
    """Give Display Shutter and its presentation value (PS3.3 C.7.6.11, C.11.12).

    Empty where the source has none; a shape without its numbers is left out.
    """
    shutter = Dataset()
    shapes = []
    for shape in dict.fromkeys(words(header, "ShutterShape")):
        numbers = {keyword: _integers(header, keyword) for keyword in NEEDED.get(shape, ())}
        if numbers and all(_suffice(shape, *entry) for entry in numbers.items()):
            shapes.append(shape)
            for keyword, values in numbers.items():
                setattr(shutter, keyword, list(values))
    if shapes:
        shutter.ShutterShape = shapes
        shutter.ShutterPresentationValue = (
            unsigned_short(header, "ShutterPresentationValue") or BLACK
        )
    return shutter


def _suffice(shape: str, keyword: str, values: tuple[int, ...]) -> bool:
    wanted = NEEDED[shape][keyword]
    if wanted:
        return len(values) == wanted
    return len(values) >= FEWEST_OF_A_POLYGON and len(values) % 2 == 0


def _integers(header: Dataset, keyword: str) -> tuple[int, ...]:
    """Give the values of an IS element; nothing if one of them is no whole number."""
    values = words(header, keyword)
    if not all(re.fullmatch(r"[+-]?\d{1,9}", value) for value in values):
        return ()
    return tuple(int(value) for value in values)
