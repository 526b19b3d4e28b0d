"""Read look-up tables (PS3.3 C.11.1.1) that hold more, fewer or smaller entries than they say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian

from scripts.preprocessing.pixel_header import PixelHeader

_Values = NDArray[np.float64]

LEAST_SHARE_COVERED: Final = 0.99  # of the image, by the entries that are there
_SMOOTH: Final = 4.0  # total variation of a table of bytes, in its range; other bytes: hundreds


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpTable:
    """A table: its first mapped value, the entries that are there, and how many it declares."""

    first: int
    entries: _Values
    declared: int

    def look_up(self, values: NDArray[np.generic]) -> _Values:
        """Look values up; those before and after the entries have the first and the last one."""
        at = np.clip(values.astype(np.float64) - self.first, 0, len(self.entries) - 1)
        found: _Values = self.entries[at.astype(np.int64)]
        return found

    def repaired(self, sample: NDArray[np.int64] | _Values) -> "LookUpTable | None":
        """Return the table with as many entries as the image needs, of those that are there.

        Args:
            sample: values of the image, most of which the entries must cover.

        Returns:
            The table; None if it is damaged: too few entries are there for the image.
        """
        for count in sorted({min(self.declared, len(self.entries)), len(self.entries)}):
            inside = (sample >= self.first) & (sample <= self.first + count - 1)
            is_whole = count == self.declared and count == len(self.entries)
            if is_whole or not sample.size or inside.mean() >= LEAST_SHARE_COVERED:
                return replace(self, entries=self.entries[:count], declared=count)
        return None


def read_tables(
    header: PixelHeader, dataset: Dataset, keyword: str, *, is_signed: bool
) -> Iterator[LookUpTable]:
    """Yield the tables of a sequence in order, without those that cannot be read."""
    items = dataset.get(keyword)
    if not isinstance(items, Sequence):
        return
    order = ">" if header.transfer_syntax == ExplicitVRBigEndian else "<"
    for item in items:
        descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
        if descriptor is None or data is None or len(descriptor) != 3:  # noqa: PLR2004 -- C.11.1.1
            continue
        count, first, bits = (int(value) & 0xFFFF for value in descriptor)
        if is_signed and first >= 1 << 15:
            first -= 1 << 16
        declared = count or 1 << 16
        entries = _entries(data, declared, bits, order)
        if len(entries) > 1:
            yield LookUpTable(first=first, entries=entries, declared=declared)


def _entries(data: object, declared: int, bits: int, order: str) -> _Values:
    """Return LUT Data as numbers; it holds US values, or bytes of 8 or 16 bits per entry."""
    if not isinstance(data, bytes):
        words = np.asarray(data, dtype=np.int64).ravel() % (1 << 16)
        if len(words) >= declared:
            return words.astype(np.float64)
        data = words.astype(f"{order}u2").tobytes()
    if len(data) < 2 * declared:
        packed = np.frombuffer(data, "u1").astype(np.float64)[:declared]
        says_bytes = bits == np.iinfo(np.uint8).bits
        is_smooth = bool(np.abs(np.diff(packed)).sum() <= _SMOOTH * np.ptp(packed))
        if sum((says_bytes, is_smooth, len(data) >= declared)) >= 2:  # noqa: PLR2004 -- of three signs
            return packed
    return np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2").astype(np.float64)
