"""The transforms with which a bundle shows a radiograph, for a presentation state to repeat."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


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
    """The transforms of the greyscale pipeline (PS3.3 C.11) that a bundle applied.

    Attributes:
        window: the VOI transform; None if it is a table.
        tables: the tables that were applied, under "modality", "voi" and "presentation".
        shutters: the shapes of the shutter that were applied.
    """

    window: Window | None
    tables: Mapping[str, Table]
    shutters: tuple[str, ...]

    @classmethod
    def read(
        cls, values: Mapping[str, Any], entries: Mapping[str, NDArray[np.generic]]
    ) -> Self | None:
        """Read tones from values and the entries of the tables, as `values` and `entries`.

        Returns:
            The tones; None if nothing is said about them.
        """
        if not values:
            return None
        window = values["window"]
        return cls(
            window=None if window is None else Window(**window),
            tables={
                name: Table(first=int(first), entries=np.asarray(entries[name], dtype=np.uint16))
                for name, first in values["first"].items()
            },
            shutters=tuple(values["shutters"]),
        )

    @property
    def values(self) -> dict[str, Any]:
        """All but the entries of the tables, for JSON."""
        return {
            "window": None if self.window is None else asdict(self.window),
            "first": {name: table.first for name, table in self.tables.items()},
            "shutters": list(self.shutters),
        }

    @property
    def entries(self) -> dict[str, NDArray[np.uint16]]:
        """The entries of the tables, by their names."""
        return {name: table.entries for name, table in self.tables.items()}
