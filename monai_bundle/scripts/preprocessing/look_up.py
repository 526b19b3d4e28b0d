"""Look up the luminance of stored words, by their table or by the line that it is."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

_FEWEST: Final = 2  # points that a line is drawn through


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Luminance that rises or falls evenly with the words, as far as black and white allow.

    The ends of a window are whole numbers, or lie half-way between two (PS3.3 C.11.2.1.2.1). Then
    the difference of a word from one of them is exact in float32, and the quotient is rounded once,
    as an entry of a table is.

    Attributes:
        black: the word, or place between two, where the line meets black.
        width: how far from there it meets white; negative where it falls.
    """

    black: np.float32
    width: np.float32

    @classmethod
    def of(cls, luminance: NDArray[np.float32]) -> Self | None:
        """Return the line that gives the luminance of each word to the last bit; else None."""
        inside = np.flatnonzero((luminance > 0) & (luminance < 1))
        if len(inside) < _FEWEST:
            return None
        first, last = int(inside[0]), int(inside[-1])
        slope = (float(luminance[last]) - float(luminance[first])) / (last - first)
        if not slope:
            return None
        black = first - float(luminance[first]) / slope
        found = cls(black=_to_half(black), width=_to_half(1 / slope))
        if not found.width:
            return None
        drawn = np.empty_like(luminance)
        found.look_up(np.arange(len(luminance), dtype=np.uint32), drawn)
        return found if np.array_equal(drawn, luminance) else None

    def look_up(self, words: NDArray[np.generic], out: NDArray[np.float32]) -> None:
        """Write the luminance of words."""
        np.subtract(words, self.black, out=out, dtype=np.float32, casting="same_kind")
        out /= self.width
        np.clip(out, 0, 1, out=out)


def _to_half(number: float) -> np.float32:
    return np.float32(round(number * 2) / 2)


class LookUp:
    """The luminance of the words of one image.

    A window is a line between black and white, which takes half of the time that a table takes.
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
