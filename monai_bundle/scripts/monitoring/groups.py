"""The groups in which films are counted: those of Lobar, docs/model_monitoring.md.

A service counts its own films in the same groups. A test compares the two.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from torch import Tensor

TONE: Final = (0.4, 0.45, 0.5, 0.525, 0.55, 0.575, 0.6, 0.625, 0.65, 0.7, 0.75)
PROBABILITY: Final = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
VIEWS: Final = ("AP", "PA")
NOT_STATED: Final = "not stated"
NONE: Final = "none"  # refused


def range_of(value: float, edges: Sequence[float]) -> str:
    """Return the name of the group of a number."""
    place = bisect_right(edges, value)
    if place == 0:
        return f"below {edges[0]:g}"
    if place == len(edges):
        return f"{edges[-1]:g} and more"
    return f"{edges[place - 1]:g} to {edges[place]:g}"


def view_of(view: str) -> str:
    """Return the group of a film's view."""
    return view if view in VIEWS else NOT_STATED


def tone_of(image: Tensor) -> float | None:
    """Return the mean of an input as a share of the range between its extremes; None if blank."""
    low, high = float(image.min()), float(image.max())
    if not high > low:
        return None
    return (float(image.double().mean()) - low) / (high - low)
