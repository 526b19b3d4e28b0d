"""Tests of reading a small data set with the items of its sequences."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.byte_sources import UndecodableError
from service.dicom.element_walker import ITEM
from service.dicom.sequence_reader import elements

SEQUENCE = 0x00081199
UID = 0x00081150
UNDEFINED = 0xFFFFFFFF
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def implicit(tag: int, value: bytes, length: int | None = None) -> bytes:
    stated = len(value) if length is None else length
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, stated) + value


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def explicit_long(tag: int, vr: bytes, value: bytes, length: int) -> bytes:
    return struct.pack("<HH2s2xL", tag >> 16, tag & 0xFFFF, vr, length) + value


FOUND = [(0, SEQUENCE, b""), (1, ITEM, b""), (2, UID, b"1.2\0")]


def test_a_sequence_of_defined_length_is_entered() -> None:
    items = implicit(ITEM, explicit(UID, b"UI", b"1.2\0"))
    encoded = explicit_long(SEQUENCE, b"SQ", items, len(items))
    assert list(elements(encoded, implicit=False)) == FOUND


def test_in_implicit_vr_the_named_tags_are_sequences() -> None:
    encoded = implicit(SEQUENCE, items := implicit(ITEM, implicit(UID, b"1.2\0")))
    assert list(elements(encoded, implicit=True, sequences={SEQUENCE})) == FOUND
    assert list(elements(encoded, implicit=True)) == [(0, SEQUENCE, items)]


def test_a_sequence_and_item_of_undefined_length_end_at_their_delimiters() -> None:
    item = implicit(ITEM, explicit(UID, b"UI", b"1.2\0"), UNDEFINED) + ITEM_END
    encoded = explicit_long(SEQUENCE, b"SQ", item + SEQUENCE_END, UNDEFINED)
    after = explicit(UID, b"UI", b"1.3\0")
    assert list(elements(encoded + after, implicit=False)) == [*FOUND, (0, UID, b"1.3\0")]


def test_the_content_of_a_un_of_undefined_length_is_in_implicit_vr() -> None:
    """PS3.5 6.2.2."""
    items = implicit(ITEM, implicit(UID, b"1.2\0")) + SEQUENCE_END
    encoded = explicit_long(SEQUENCE, b"UN", items, UNDEFINED)
    assert list(elements(encoded, implicit=False)) == FOUND


@pytest.mark.parametrize(
    "encoded",
    [
        implicit(SEQUENCE, implicit(ITEM, b"", 100)),
        implicit(SEQUENCE, implicit(ITEM, implicit(UID, b"1.2\0", 100))),
        implicit(SEQUENCE, implicit(UID, b"1.2\0")),
        implicit(SEQUENCE, implicit(ITEM, ITEM_END)),
        implicit(SEQUENCE, SEQUENCE_END),
        implicit(SEQUENCE, implicit(ITEM, b"", UNDEFINED), UNDEFINED),
        ITEM_END,
        implicit(UID, b"1.2\0", 5),
    ],
    ids=[
        "an item beyond its sequence",
        "a value beyond its item",
        "an element in the place of an item",
        "a delimiter in an item of defined length",
        "a delimiter in a sequence of defined length",
        "an item without its end",
        "a delimiter outside of any sequence",
        "a value beyond the end",
    ],
)
def test_what_does_not_fit_its_bounds_is_undecodable(encoded: bytes) -> None:
    with pytest.raises(UndecodableError):
        list(elements(encoded, implicit=True, sequences={SEQUENCE}))


@given(encoded=st.binary(max_size=200), implicit_vr=st.booleans())
def test_any_bytes_are_read_within_their_bounds_or_undecodable(
    encoded: bytes, *, implicit_vr: bool
) -> None:
    try:
        found = list(elements(encoded, implicit=implicit_vr, sequences={SEQUENCE}))
    except UndecodableError:
        return
    assert sum(8 + len(value) for _, _, value in found) <= len(encoded)
