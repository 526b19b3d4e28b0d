"""Look up the luminance of stored words, by their table or by the line that it is."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

_ROUNDING: Final = 2.0**-22  # of four operations on numbers up to one: two steps of float32
_FEWEST: Final = 2  # points that a line is drawn through


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Luminance that rises or falls evenly with the words, as far as black and white allow.

    Attributes:
        first: a word that is neither black nor white; what differs from it is exact in float32.
        start: its luminance.
        slope: by how much the next word's differs.
    """

    first: np.float32
    start: np.float32
    slope: np.float32

    @classmethod
    def of(cls, luminance: NDArray[np.float32]) -> Self | None:
        """Return the line that luminance by word is, within the rounding of float32; else None."""
        inside = np.flatnonzero((luminance > 0) & (luminance < 1))
        if len(inside) < _FEWEST:
            return None
        first, last = inside[0], inside[-1]
        slope = (float(luminance[last]) - float(luminance[first])) / float(last - first)
        found = cls(first=np.float32(first), start=luminance[first], slope=np.float32(slope))
        drawn = np.empty_like(luminance)
        found.look_up(np.arange(len(luminance), dtype=np.uint32), drawn)
        return found if np.abs(drawn - luminance).max() <= _ROUNDING else None

    def look_up(self, words: NDArray[np.generic], out: NDArray[np.float32]) -> None:
        """Write the luminance of words."""
        np.subtract(words, self.first, out=out, dtype=np.float32, casting="same_kind")
        out *= self.slope
        out += self.start
        np.clip(out, 0, 1, out=out)


class LookUp:
    """The luminance of the words of one image.

    A window is a line between black and white, which takes a third of the time that a table takes;
    the luminance then differs from the table's by rounding.
    """

    def __init__(self, table: NDArray[np.float32], words: NDArray[np.generic]) -> None:
        """Prepare for the words of an image, of which each is a place in the table."""
        self._table = table
        largest = int(words.max()) if words.size else 0
        self._line = _Line.of(table[: largest + 1])

    def write(self, words: NDArray[np.generic], out: NDArray[np.float32]) -> None:
        """Write the luminance of some of the words, few enough for what they need to be cached."""
        if self._line is not None:
            self._line.look_up(words, out)
        else:
            # with another mode numpy works on a copy of the result
            np.take(self._table, words.astype(np.intp), out=out, mode="clip")
