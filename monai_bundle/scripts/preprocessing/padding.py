"""Find the words of an image that are padding (PS3.3 C.7.5.1.1.2): displayed black, never counted.

Pixel Padding Value is written as US where the pixels are signed and the other way round, with bits
above Bits Stored, and with ranges that cover the whole image. The readings of the numbers are tried
in order, and the first that leaves anatomy is taken.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from scripts.preprocessing.pixel_header import PixelHeader, integer

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEAST_SHARE_LEFT: Final = 0.05  # of the image; a newborn on a large detector covers three times it
MOST_OF_THE_MIDDLE: Final = 0.25  # of the middle ninth, which a range may cover: it is anatomy
_SPIKE: Final = 16  # neighbouring values on each side, which a value of padding outnumbers


def padding_mask(
    header: PixelHeader, dataset: Dataset, stored: Integers, sample: NDArray[np.generic]
) -> Mask:
    """Return which of the 2**bits_allocated words are padding.

    Args:
        header: the image's pixel header.
        dataset: the elements of the padding.
        stored: the stored value of each word.
        sample: some of the image's words; two-dimensional, it covers the image evenly.
    """
    value = integer(dataset, "PixelPaddingValue")
    none = np.zeros(stored.shape, dtype=bool)
    if value is None:
        return none
    limit = integer(dataset, "PixelPaddingRangeLimit")
    ends = (value, value if limit is None else limit)
    words = _as_numbers(header, np.arange(len(stored)))
    found = none
    for low, high in _readings(header, ends):
        mask = ((stored >= low) & (stored <= high)) | ((words >= low) & (words <= high))
        if low == high and not mask[sample].any():
            mask = mask | _masked_spike(header, low, stored, sample)
        if mask.any() and not _covers_anatomy(mask[sample], is_range=low != high):
            if mask[sample].any():
                return mask
            found = found | mask
    return found


def _as_numbers(header: PixelHeader, words: Integers) -> Integers:
    """Read whole words as numbers, the bits above Bits Stored included."""
    if not header.pixel_representation:
        return words
    sign = 1 << (header.bits_allocated - 1)
    numbers: Integers = (words ^ sign) - sign
    return numbers


def _readings(header: PixelHeader, ends: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the range as its numbers say, then with each as a word of the image's own sign."""
    yield min(ends), max(ends)
    largest = 1 << 16
    turned = [end % largest for end in ends]
    if header.pixel_representation:
        turned = [end - largest * (end >= largest // 2) for end in turned]
    if sorted(turned) != sorted(ends):
        yield min(turned), max(turned)


def _masked_spike(
    header: PixelHeader, value: int, stored: Integers, sample: NDArray[np.generic]
) -> Mask:
    """Return the words whose stored bits are those of the padding, where these are a spike.

    A value beyond Bits Stored loses its upper bits in most encoders. What is left may be a grey
    level of the anatomy, so that it counts only where it is more frequent than its neighbours.
    """
    mask = (1 << header.bits_stored) - 1
    same: Mask = (stored & mask) == (value & mask)
    near = np.abs(stored - stored[same][0]) <= _SPIKE
    shares = same[sample].mean(), (near & ~same)[sample].mean()
    return same if shares[0] > shares[1] else np.zeros(stored.shape, dtype=bool)


def _covers_anatomy(covered: Mask, *, is_range: bool) -> bool:
    """Return whether the padding is absurd: it leaves next to nothing, or covers the middle."""
    if 1 - covered.mean() < LEAST_SHARE_LEFT:
        return True
    if not is_range or covered.ndim != 2 or min(covered.shape) < 3:  # noqa: PLR2004 -- an image
        return False
    rows, columns = (side // 3 for side in covered.shape)
    middle = covered[rows : 2 * rows, columns : 2 * columns]
    return bool(middle.mean() > MOST_OF_THE_MIDDLE)
