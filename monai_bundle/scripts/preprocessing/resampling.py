"""Resize an image to the network's size in one pass over its stored words.

The filter is that of `torch.nn.functional.interpolate` (bilinear, antialiased), which
`ResizeToShaped` uses: a triangle as wide as the reduction. It is applied to a few rows at a time,
so the luminance of the whole image is never in memory.

JPEG 2000 may be decoded at a lower resolution, without the details of the last levels of its
wavelet transform. Its samples are not means of squares: each lies on a pixel of the whole image,
and the inverse transform spreads it over the pixels around. The weights are therefore those of the
whole image, as the inverse transform makes it of the samples and of the details to be expected:
none in the 9-7 transform, and in the 5-3 transform, which predicts a pixel by the mean of its two
neighbours, what a cubic through four of them adds to that. They are carried from the pixels to the
samples level by level: the transform of a long side as a matrix would take gigabytes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.preprocessing.look_up import LookUp

_GROUP: Final = 8  # rows of the result that are computed at once: what they need fits in a cache
# Lifting steps of the 9-7 irreversible transform (ISO/IEC 15444-1 F.3.8.2)
_ALPHA: Final = -1.586134342059924
_BETA: Final = -0.052980118572961
_GAMMA: Final = 0.882911075530934

Matrix = NDArray[np.float64]
# Of a side: for each group of pixels of the result the span of samples that it needs, and their
# weights.
Weights = tuple[tuple[slice, torch.Tensor], ...]
Show = Callable[[NDArray[np.float32]], None]


def resize_words(
    table: NDArray[np.float32],
    words: NDArray[np.generic],
    size: tuple[int, int],
    weights: tuple[Weights, Weights] | None = None,
    hidden: NDArray[np.bool_] | None = None,
    show: Show | None = None,
) -> torch.Tensor:
    """Look up the luminance of each word and resize the image to `size`, 1 x rows x columns.

    Args:
        table: the luminance of every word.
        words: the image, rows x columns.
        size: rows and columns of the result.
        weights: of the rows and of the columns, where they are not those of a whole image.
        hidden: which pixels are black whatever their words are.
        show: is given the luminance of all rows, some at a time, from the first to the last.
    """
    rows, columns = words.shape
    down, across = weights or (whole_weights(rows, size[0]), whole_weights(columns, size[1]))
    luminance = _Luminance(table, words, hidden, show)
    narrowed = _weighted_rows(down, luminance.rows)
    luminance.rows(slice(rows, rows))  # what is below the last row that has a weight
    return _weighted_rows(across, lambda rows: narrowed.T[rows]).T[None].contiguous()


class _Luminance:
    """The luminance of an image from the top down, where each row is looked up once."""

    def __init__(
        self,
        table: NDArray[np.float32],
        words: NDArray[np.generic],
        hidden: NDArray[np.bool_] | None,
        show: Show | None,
    ) -> None:
        self._words, self._hidden, self._show = words, hidden, show
        self._look_up = LookUp(table, words)
        self._first, self._next = 0, 0  # row of the buffer, and row that is looked up next
        self._buffer = np.empty((0, words.shape[1]), np.float32)

    def rows(self, span: slice) -> torch.Tensor:
        """Return some rows, until the next call; none is above the first of those before."""
        kept = self._move_up(min(span.start, self._next), span.stop)
        found = self._buffer[kept : kept + span.stop - self._next]
        rows = slice(self._next, span.stop)
        self._look_up.write(self._words[rows], found)
        if self._hidden is not None:
            found[self._hidden[rows]] = 0
        if self._show is not None:
            self._show(found)
        self._next = span.stop
        return torch.from_numpy(self._buffer[span.start - self._first : span.stop - self._first])

    def _move_up(self, first: int, last: int) -> int:
        """Begin the buffer with another row, and return how many rows of it are looked up."""
        kept = self._next - first
        still = self._buffer[first - self._first :][:kept]
        if last - first > len(self._buffer):
            self._buffer = np.empty((last - first, self._words.shape[1]), np.float32)
        self._buffer[:kept] = still
        self._first = first
        return kept


@lru_cache(maxsize=4)
def whole_weights(side: int, size: int) -> Weights:
    """Return the weights of the pixels of a side in each of the `size` pixels that result."""
    return _in_groups(_triangles(side, size))


@lru_cache(maxsize=4)
def reduced_weights(side: int, size: int, levels: int, *, is_reversible: bool) -> Weights:
    """Return the weights of the samples that are left of a side of JPEG 2000.

    Args:
        side: pixels of the whole image.
        size: pixels that result.
        levels: of the wavelet transform, the details of which are left out.
        is_reversible: whether the transform is 5-3, not 9-7.
    """
    weights = _triangles(side, size)
    for _ in range(levels):
        weights = _of_samples(weights, is_reversible=is_reversible)
    return _in_groups(weights / weights.sum(1, keepdims=True))


def _triangles(side: int, size: int) -> Matrix:
    scale = side / size
    centres = (np.arange(size) + 0.5) * scale
    distances = np.abs(np.arange(side) + 0.5 - centres[:, None]) / max(scale, 1)
    weights = np.maximum(1 - distances, 0)
    found: Matrix = weights / weights.sum(1, keepdims=True)
    return found


def _of_samples(pixels: Matrix, *, is_reversible: bool) -> Matrix:
    """Return the weights of the samples of a level from those of the pixels that they become.

    The lifting steps of the inverse transform (ISO/IEC 15444-1 F.3.8.1, F.3.8.2), up to a factor,
    transposed and hence from the last to the first. The first sample lies on the first pixel, and
    borders are mirrored (F.3.7).
    """
    on, between = pixels[:, 0::2], pixels[:, 1::2]
    if on.shape[1] > between.shape[1]:  # a pixel that the image does not have
        between = np.pad(between, ((0, 0), (0, 1)))
    if is_reversible:
        on = on + _on_both(between) / 2
        details = between - _between_both(on) / 4
        return on + (_on_both(details) - _on_both_further(details)) / 16
    on = on - _ALPHA * _on_both(between)
    between = between - _BETA * _between_both(on)
    return on - _GAMMA * _on_both(between)


def _on_both(between: Matrix) -> Matrix:
    """Add the weight of each pixel between two samples to both of them."""
    return between + _to_next(between)


def _on_both_further(between: Matrix) -> Matrix:
    """Add the weight of each pixel between two samples to the next ones on either side."""
    return _to_last(between) + _to_next(_to_next(between))


def _between_both(on: Matrix) -> Matrix:
    """Add the weight of each pixel on a sample to the pixels on either side."""
    return on + _to_last(on)


def _to_next(weights: Matrix) -> Matrix:
    moved = np.zeros_like(weights)
    moved[:, 1:] = weights[:, :-1]
    moved[:, -1] += weights[:, -1]  # mirrored
    return moved


def _to_last(weights: Matrix) -> Matrix:
    moved = np.zeros_like(weights)
    moved[:, :-1] = weights[:, 1:]
    moved[:, 0] += weights[:, 0]  # mirrored
    return moved


def _in_groups(weights: Matrix) -> Weights:
    groups = []
    for first in range(0, len(weights), _GROUP):
        group = weights[first : first + _GROUP]
        used = np.flatnonzero(group.any(0))
        span = slice(int(used[0]), int(used[-1]) + 1)
        groups.append((span, torch.from_numpy(group[:, span].astype(np.float32))))
    return tuple(groups)


def _weighted_rows(weights: Weights, rows: Callable[[slice], torch.Tensor]) -> torch.Tensor:
    """Multiply weights by the image whose rows a function returns."""
    return torch.cat([group @ rows(span) for span, group in weights])
