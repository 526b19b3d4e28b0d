"""The greyscale transformations of a source, which its presentation state has to repeat.

A presentation state replaces the transformations of the image that it references (PS3.4 N.2): what
it leaves out is not applied. So the transformations are repeated with which the bundle made the
model's input. Where a bundle does not describe them, the source's valid ones are repeated, and of
several windows or VOI LUTs the first; invalid ones count as absent.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from workers.reporting.raw_elements import (
    decimals,
    sequence_items,
    tag_of,
    text_values,
    unsigned_short,
)
from workers.tones import Table, Tones

GREY: Final = frozenset({"MONOCHROME1", "MONOCHROME2"})
VOI_FUNCTIONS: Final = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})  # PS3.3 C.11.2.1.3
LARGEST: Final = 1e12  # a larger number is no grey level
NARROWEST_LINEAR: Final = 1  # PS3.3 C.11.2.1.2.1
UNSPECIFIED: Final = "US"  # of Rescale Type and Modality LUT Type, PS3.3 C.11.1.1.2
SIGNED_FROM: Final = 1 << 15
MOST_ENTRIES: Final = 1 << 16  # of a LUT, encoded as 0 in its descriptor
BITS_OF_ENTRIES: Final = range(8, 17)  # PS3.3 C.11.1.1.1 and, of DX, C.8.11.3.1.5
BITS_OF_BYTES: Final = 8
BITS_WRITTEN: Final = 16  # a presentation state has 8 or 16, PS3.3 C.11.2.1.1
LARGEST_SHORT: Final = (1 << 16) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A LUT: its first input, as 16 bits, its entries, and the largest that an entry may be."""

    first: int
    entries: tuple[int, ...]
    largest: int

    def stretched(self) -> "_Table":
        """Scale the entries that are there to 16 bits, as the picture for the model does.

        A table that declares 16 bits may hold 12: its own range counts, not the declared one.
        """
        least, largest = min(self.entries), max(self.entries)
        if largest == least:
            return self
        entries = tuple(
            round((entry - least) * LARGEST_SHORT / (largest - least)) for entry in self.entries
        )
        return _Table(first=self.first, entries=entries, largest=LARGEST_SHORT)


def is_grey(header: Dataset) -> bool:
    """Return whether a grayscale presentation state may reference the image (PS3.4 N.2)."""
    photometric = text_values(header, "PhotometricInterpretation")
    return len(photometric) == 1 and photometric[0] in GREY


def presentation_transformation(header: Dataset, tones: Tones | None = None) -> Dataset:
    """Build the Softcopy Presentation LUT module (PS3.3 C.11.6): the bundle's LUT, else a shape."""
    result = Dataset()
    if tones is not None and "presentation" in tones.tables:
        table = _known(tones.tables["presentation"])
        result.PresentationLUTSequence = [_lut_item(table, is_signed=False)]
    else:
        result.PresentationLUTShape = presentation_lut_shape(header)
    return result


def presentation_lut_shape(header: Dataset) -> str:
    """Return INVERSE where the lowest value is white, else IDENTITY (PS3.3 C.11.6).

    A presentation state ignores Photometric Interpretation: without INVERSE, MONOCHROME1 would be
    shown as a negative. A DX image has INVERSE itself (C.8.11.3); that is the same inversion and
    not a second one.
    """
    starts_white = text_values(header, "PhotometricInterpretation") == ("MONOCHROME1",)
    says_inverse = text_values(header, "PresentationLUTShape") == ("INVERSE",)
    return "INVERSE" if starts_white or says_inverse else "IDENTITY"


def modality_transformation(header: Dataset, tones: Tones | None = None) -> Dataset:
    """Build the Modality LUT module (PS3.3 C.11.1); empty if the source has no valid one."""
    result = Dataset()
    if tones is None:
        table = _table(header, "ModalityLUTSequence")
    else:
        table = _known(tones.tables["modality"]) if "modality" in tones.tables else None
    if table is not None:
        item = _lut_item(table, is_signed=_is_signed(header))
        kinds = (
            _text(each, "ModalityLUTType") for each in sequence_items(header, "ModalityLUTSequence")
        )
        item.ModalityLUTType = next(kinds, "") or UNSPECIFIED
        result.ModalityLUTSequence = [item]
        return result
    slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
    if slope and intercept is not None:
        result.RescaleSlope = format_number_as_ds(slope)
        result.RescaleIntercept = format_number_as_ds(intercept)
        result.RescaleType = _text(header, "RescaleType") or UNSPECIFIED
    return result


def voi_transformation(header: Dataset, tones: Tones | None = None) -> Dataset | None:
    """Build an item of Softcopy VOI LUT Sequence (PS3.3 C.11.8).

    Returns:
        The item: what the bundle used, else the source's first LUT or window; None if it has
        neither.
    """
    if tones is None:
        return _stated_voi(header)
    item = Dataset()
    if tones.window is None:
        table = tones.tables["voi"]
        is_signed = _may_be_negative(header) or table.first < 0
        item.VOILUTSequence = [_lut_item(_known(table), is_signed=is_signed)]
        return item
    if tones.window.function:
        item.VOILUTFunction = tones.window.function
    item.WindowCenter = format_number_as_ds(tones.window.centre)
    item.WindowWidth = format_number_as_ds(tones.window.width)
    return item


def _known(table: Table) -> _Table:
    """Convert a table that a bundle used."""
    entries = tuple(int(entry) for entry in table.entries)
    return _Table(first=table.first % MOST_ENTRIES, entries=entries, largest=LARGEST_SHORT)


def _stated_voi(header: Dataset) -> Dataset | None:
    """Build the item from the source's first LUT or window."""
    item = Dataset()
    table = _table(header, "VOILUTSequence")
    if table is not None:
        item.VOILUTSequence = [_lut_item(table.stretched(), is_signed=_may_be_negative(header))]
        return item
    centre, width = _number(header, "WindowCenter"), _number(header, "WindowWidth")
    if centre is None or width is None or width <= 0:
        return None
    function = _text(header, "VOILUTFunction")
    if function in VOI_FUNCTIONS:
        item.VOILUTFunction = function
    if function in {"", "LINEAR"} and width < NARROWEST_LINEAR:
        return None
    item.WindowCenter = format_number_as_ds(centre)
    item.WindowWidth = format_number_as_ds(width)
    return item


def _number(header: Dataset, keyword: str) -> float | None:
    """Return the first value of a DS element; None if it cannot be a grey level or a factor."""
    values = decimals(header, keyword)
    if not values or not math.isfinite(values[0]) or abs(values[0]) >= LARGEST:
        return None
    return values[0]


def _text(header: Dataset, keyword: str) -> str:
    values = text_values(header, keyword)
    return values[0] if values and re.fullmatch(r"[A-Z0-9_]{1,16}", values[0]) else ""


def _is_signed(header: Dataset) -> bool:
    return unsigned_short(header, "PixelRepresentation") == 1


def _may_be_negative(header: Dataset) -> bool:
    """Return whether a VOI LUT may begin below zero: its input is the Modality LUT's output."""
    if _table(header, "ModalityLUTSequence") is not None:
        return False
    return _is_signed(header) or (_number(header, "RescaleIntercept") or 0) < 0


def _table(header: Dataset, keyword: str) -> _Table | None:
    """Return the first LUT of a sequence, if it is complete (PS3.3 C.11.1.1.1)."""
    for item in sequence_items(header, keyword)[:1]:
        match _shorts(item, "LUTDescriptor"):
            case (stated, first, bits) if bits in BITS_OF_ENTRIES:
                count = stated or MOST_ENTRIES
                entries = _shorts(item, "LUTData")
                if bits == BITS_OF_BYTES and len(entries) < count:
                    entries = _bytes_of(entries)[:count]
                if len(entries) == count:
                    return _Table(first=first, entries=entries, largest=(1 << bits) - 1)
    return None


def _bytes_of(data: tuple[int, ...]) -> tuple[int, ...]:
    """Return the entries of a LUT that has two of them in a word, the lower byte first."""
    return tuple(byte for word in data for byte in (word & 0xFF, word >> 8))


def _shorts(item: Dataset, keyword: str) -> tuple[int, ...]:
    """Return an element's value field as unsigned 16-bit numbers; empty if it has no such field."""
    element = item.get_item(keyword, keep_deferred=True)
    if element is None:
        return ()
    if isinstance(element, RawDataElement):
        order = "<" if element.is_little_endian else ">"
        return tuple(_unpacked(element.value or b"", order))
    return tuple(_decoded(element.value))


def _unpacked(value: bytes, order: str) -> Iterator[int]:
    if len(value) % 2 == 0:
        yield from struct.unpack(f"{order}{len(value) // 2}H", value)


def _decoded(value: object) -> Iterator[int]:
    """Yield the numbers of an element that is decoded already."""
    if isinstance(value, bytes):
        yield from _unpacked(value, "<")
    elif isinstance(value, int):
        yield value % MOST_ENTRIES
    elif isinstance(value, (list, tuple)) or hasattr(value, "__iter__"):
        yield from (int(each) % MOST_ENTRIES for each in value)


def _lut_item(table: _Table, *, is_signed: bool) -> Dataset:
    item = Dataset()
    count, first = len(table.entries) % MOST_ENTRIES, table.first
    if is_signed:
        count, first = (each - MOST_ENTRIES * (each >= SIGNED_FROM) for each in (count, first))
    vr = "SS" if is_signed else "US"
    item.add(DataElement(tag_of("LUTDescriptor"), vr, [count, first, BITS_WRITTEN]))
    data = struct.pack(f"<{len(table.entries)}H", *table.entries)
    item.add(DataElement(tag_of("LUTData"), "OW", data))
    return item
