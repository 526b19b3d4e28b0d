"""What is watched for drift: a few properties of each radiograph, each as one of a few groups.

A group is a name of a closed set, so that nothing of a header is kept or shown as it came.
"""

import itertools
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from service.domain.reasons import Reason


class DriftInput(StrEnum):
    """A property whose distribution is watched. The names are a public interface."""

    MANUFACTURER = "manufacturer"
    VIEW = "view"
    KVP = "kvp"
    EXPOSURE = "exposure"
    SIZE = "size"
    TONE = "tone"
    PROBABILITY = "probability"
    REFUSAL = "refusal"


OF_INSTANCE: Final = (
    *(DriftInput.MANUFACTURER, DriftInput.VIEW, DriftInput.KVP),
    *(DriftInput.EXPOSURE, DriftInput.SIZE, DriftInput.TONE),
)
"""Those that are kept with each instance; the others follow from its result."""

NOT_STATED: Final = "not stated"
OTHER: Final = "other"
NONE: Final = "none"  # of the refusals: the model took the radiograph

EDGES: Final[Mapping[DriftInput, Sequence[float]]] = {
    DriftInput.KVP: (50, 60, 70, 80, 90, 100, 110, 120, 130),  # kV
    DriftInput.EXPOSURE: (0.5, 1, 2, 4, 8, 16, 32),  # mAs
    DriftInput.SIZE: (512, 1024, 1536, 2048, 2560, 3072, 4096),  # pixels of the longer side
    # the mean of the network's input, as a share of the range between its extremes
    DriftInput.TONE: (0.4, 0.45, 0.5, 0.525, 0.55, 0.575, 0.6, 0.625, 0.65, 0.7, 0.75),
    DriftInput.PROBABILITY: (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98),
}
"""Where the groups of a number begin, in the order of its values."""

# a maker, and what its name and those of the makers that it took over begin with
_MAKERS: Final[Mapping[str, str]] = {
    "agfa": "agfa",
    "canon": "canon|virtual imaging",
    "carestream": "carestream|kodak|eastman kodak",
    "drtech": "drtech|dr tech",
    "fuji": "fuji",
    "ge": r"ge\b|gems|general electric",
    "hologic": "hologic|lorad",
    "konica minolta": "konica|minolta",
    "mindray": "mindray|shenzhen mindray",
    "philips": "philips",
    "samsung": "samsung|gmm",
    "sedecal": "sedecal",
    "shimadzu": "shimadzu",
    "siemens": "siemens",
    "swissray": "swissray",
    "toshiba": "toshiba",
    "united imaging": "united imaging|uih",
    "varian": "varian|varex",
    "vieworks": "vieworks",
}
_PATTERNS: Final = {name: re.compile(words) for name, words in _MAKERS.items()}
_VIEWS: Final = ("AP", "PA")

_OF_PIXELS: Final = (
    *(Reason.BLANK, Reason.SATURATED, Reason.NOT_CHEST, Reason.LATERAL, Reason.TURNED),
    *(Reason.INVERTED, Reason.CUT_OFF, Reason.UNFAMILIAR),
)


def _ranges(edges: Sequence[float]) -> tuple[str, ...]:
    between = (f"{low:g} to {high:g}" for low, high in itertools.pairwise(edges))
    return (f"below {edges[0]:g}", *between, f"{edges[-1]:g} and more")


GROUPS: Final[Mapping[DriftInput, Sequence[str]]] = {
    DriftInput.MANUFACTURER: (*_MAKERS, OTHER, NOT_STATED),
    DriftInput.VIEW: (*_VIEWS, OTHER, NOT_STATED),
    **{each: (*_ranges(edges), NOT_STATED) for each, edges in EDGES.items()},
    DriftInput.REFUSAL: (NONE, *map(str, _OF_PIXELS)),
}
"""The groups of each input; the numbers of films in them are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputGroups:
    """The group of one instance in each input that is kept with it."""

    manufacturer: str = NOT_STATED
    view: str = NOT_STATED
    kvp: str = NOT_STATED
    exposure: str = NOT_STATED
    size: str = NOT_STATED
    tone: str = NOT_STATED

    def __post_init__(self) -> None:
        for each in OF_INSTANCE:
            if getattr(self, each) not in GROUPS[each]:
                raise ValueError(f"no group of the input {each}")


def manufacturer_group(written: str) -> str:
    """Return the maker that a header names; one that is not known is `other`."""
    words = " ".join(re.sub(r"[\W_]+", " ", written).lower().split())
    if not words:
        return NOT_STATED
    return next((name for name, begins in _PATTERNS.items() if begins.match(words)), OTHER)


def view_group(written: str) -> str:
    """Return the frontal view that a header names; any other is `other`."""
    word = written.strip().upper()
    return (word if word in _VIEWS else OTHER) if word else NOT_STATED


def number_group(of: DriftInput, value: float | None) -> str:
    """Return the group of a number; None and what is no number is `not stated`."""
    if value is None or value != value:  # noqa: PLR0124 -- NaN
        return NOT_STATED
    return GROUPS[of][bisect_right(EDGES[of], value)]


def refusal_group(reason: Reason | None) -> str | None:
    """Return the group of a result: the bundle's judgement of the pixels, or that there is none.

    None for an instance that the model did not see: its header alone was judged, or the pixels
    could not be decoded. Which age a model is validated for says nothing about the pixels.
    """
    if reason is None or reason is Reason.POPULATION:
        return NONE
    return str(reason) if reason in _OF_PIXELS else None
