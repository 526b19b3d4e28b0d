"""Resize an image to the network's size in one pass over its stored words.

The filter is that of `torch.nn.functional.interpolate` (bilinear, antialiased), which
`ResizeToShaped` uses: a triangle as wide as the reduction. It is applied to a few rows at a time,
so the luminance of the whole image is never in memory.

JPEG 2000 may be decoded at a lower resolution, without the details of the last levels of its
wavelet transform. Its samples are no means of squares: each lies on a pixel of the whole image, and
the inverse transform spreads it over the pixels around. The weights are therefore those of the
whole image, as the inverse transform makes it of the samples and of the details to be expected:
none in the 9-7 transform, and in the 5-3 transform, which predicts a pixel by the mean of its two
neighbours, what a cubic through four of them adds to that.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

_GROUP: Final = 8  # rows of the result that are computed at once: what they need fits in a cache
# Lifting steps of the 9-7 irreversible transform (ISO/IEC 15444-1 F.3.8.2)
_ALPHA: Final = -1.586134342059924
_BETA: Final = -0.052980118572961
_GAMMA: Final = 0.882911075530934

Matrix = NDArray[np.float64]
# Of a side: for each group of pixels of the result the span of samples that it needs, and their
# weights.
Weights = tuple[tuple[slice, torch.Tensor], ...]


def resize_words(
    table: NDArray[np.float32],
    words: NDArray[np.generic],
    size: tuple[int, int],
    weights: tuple[Weights, Weights] | None = None,
    hidden: NDArray[np.bool_] | None = None,
) -> torch.Tensor:
    """Look up the luminance of each word and resize the image to `size`, 1 x rows x columns.

    Args:
        table: the luminance of every word.
        words: the image, rows x columns.
        size: rows and columns of the result.
        weights: of the rows and of the columns, where they are not those of a whole image.
        hidden: which pixels are black whatever their words are.
    """

    def luminance(rows: slice) -> torch.Tensor:
        found = np.take(table, words[rows].astype(np.intp), mode="clip")
        if hidden is not None:
            found[hidden[rows]] = 0
        return torch.from_numpy(found)

    rows, columns = words.shape
    down, across = weights or (whole_weights(rows, size[0]), whole_weights(columns, size[1]))
    narrowed = _weighted_rows(down, luminance)
    return _weighted_rows(across, lambda rows: narrowed.T[rows]).T[None].contiguous()


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
    spread = _inverse_transform(side, levels, is_reversible=is_reversible)
    return _in_groups(_triangles(side, size) @ spread)


def _triangles(side: int, size: int) -> Matrix:
    scale = side / size
    centres = (np.arange(size) + 0.5) * scale
    distances = np.abs(np.arange(side) + 0.5 - centres[:, None]) / max(scale, 1)
    weights = np.maximum(1 - distances, 0)
    found: Matrix = weights / weights.sum(1, keepdims=True)
    return found


def _inverse_transform(side: int, levels: int, *, is_reversible: bool) -> Matrix:
    """Return the inverse wavelet transform, from samples to pixels, with the expected details.

    The first sample lies on the first pixel, and borders are mirrored (ISO/IEC 15444-1 F.3.7).
    """
    sides = [-(-side // (1 << level)) for level in range(levels + 1)]
    spread = np.eye(sides[-1])
    for longer in reversed(sides[:-1]):
        even, odd = _lifted(spread, is_reversible=is_reversible)
        both = np.empty((2 * len(even), sides[-1]))
        both[0::2], both[1::2] = even, odd
        spread = both[:longer] / both[:longer].sum(1, keepdims=True)
    return spread


def _lifted(even: Matrix, *, is_reversible: bool) -> tuple[Matrix, Matrix]:
    """Return the pixels on the samples and between them (F.3.8.1, F.3.8.2), up to a factor."""
    if is_reversible:
        details = (even + _next(even) - _last(even) - _next(_next(even))) / 16
        even = even - (_last(details) + details) / 4
        return even, details + (even + _next(even)) / 2
    odd = -_GAMMA * (even + _next(even))
    even = even - _BETA * (_last(odd) + odd)
    return even, odd - _ALPHA * (even + _next(even))


def _next(rows: Matrix) -> Matrix:
    return np.vstack([rows[1:], rows[-1:]])


def _last(rows: Matrix) -> Matrix:
    return np.vstack([rows[:1], rows[:-1]])


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
