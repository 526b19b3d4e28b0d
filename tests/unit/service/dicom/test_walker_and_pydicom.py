"""The element walker and pydicom agree on every data set that pydicom reads as a whole.

The data sets are built from elements of any tag, VR and length, nested or not, and then damaged.
Left out is what the walker refuses on purpose: an item outside of any sequence, and a value of
undefined length that holds no items, in which pydicom searches for the bytes of a delimiter.
"""

import contextlib
import struct
import warnings
from io import BytesIO
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import _is_implicit_vr, data_element_generator
from pydicom.sequence import Sequence

from service.dicom.byte_sources import PlainBytes, UndecodableError
from service.dicom.element_walker import ElementWalker
from service.dicom.sequence_reader import elements

BOUNDED: Final = settings(max_examples=settings().max_examples // 4)  # nested data are slow to draw
UNDEFINED: Final = 0xFFFFFFFF
DELIMITERS: Final = 0xFFFE
SEQUENCE_DELIMITATION: Final = 0xFFFEE0DD
CHARACTER_SET: Final = 0x00080005
ITEM_BEGIN: Final = b"\xfe\xff\x00\xe0"
HEAD_BYTES: Final = 8
LONG: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")
SHORT: Final = ("AE", "AT", "CS", "DA", "DS", "FD", "IS", "LO", "PN", "SS", "UI", "UL", "US")
ITEM_END: Final = struct.pack("<HHL", DELIMITERS, 0xE00D, 0)
SEQUENCE_END: Final = struct.pack("<HHL", DELIMITERS, 0xE0DD, 0)
TRAILING_PADDING: Final = 0xFFFCFFFC
LAST: Final = struct.pack("<HHL", 0xFFFC, 0xFFFC, 0)
TAGS: Final = st.one_of(
    st.sampled_from(
        [0x00020010, 0x00080005, 0x00080018, 0x00081140, 0x00091001, 0x00400275, 0x7FE00010]
    ),
    st.integers(0x00030000, 0xFFFDFFFF),
)
VALUES: Final = st.binary(max_size=24)


def head(tag: int, vr: str, length: int, *, implicit: bool) -> bytes:
    """Encode the head of an element (PS3.5 7.1)."""
    group, number = tag >> 16, tag & 0xFFFF
    if implicit:
        return struct.pack("<HHL", group, number, length)
    if vr in LONG:
        return struct.pack("<HH2s2xL", group, number, vr.encode(), length)
    return struct.pack("<HH2sH", group, number, vr.encode(), length)


@st.composite
def plain(draw: st.DrawFn, *, implicit: bool) -> bytes:
    value = draw(VALUES)
    vr = draw(st.sampled_from([*LONG, *SHORT]))
    tag = draw(TAGS)
    if tag == CHARACTER_SET:
        value = value.replace(b"\0", b" ")  # pydicom raises upon the name of a set with a NUL
    return head(tag, vr, len(value), implicit=implicit) + value


@st.composite
def fragments(draw: st.DrawFn, *, implicit: bool) -> bytes:
    """Encode a value in fragments (PS3.5 A.4)."""
    values = draw(st.lists(VALUES, max_size=3))
    vr = draw(st.sampled_from(["OB", "OW"]))
    items = [struct.pack("<HHL", DELIMITERS, 0xE000, len(each)) + each for each in values]
    start = head(0x7FE00010, vr, UNDEFINED, implicit=implicit)
    return start + b"".join(items) + SEQUENCE_END


@st.composite
def sequence(draw: st.DrawFn, depth: int, *, implicit: bool) -> bytes:
    """Encode a sequence, under the VR UN too; both may be in implicit VR within explicit VR."""
    vr = draw(st.sampled_from(["SQ", "UN"]))
    inside = implicit or draw(st.booleans())
    items = b""
    for body in draw(st.lists(data_sets(depth - 1, implicit=inside), max_size=2)):
        defined = draw(st.booleans())
        length = len(body) if defined else UNDEFINED
        items += struct.pack("<HHL", DELIMITERS, 0xE000, length) + body
        items += b"" if defined else ITEM_END
    tag = draw(st.sampled_from([0x00081140, 0x00400275, 0x00091002]))
    if draw(st.booleans()):
        return head(tag, vr, len(items), implicit=implicit) + items
    return head(tag, vr, UNDEFINED, implicit=implicit) + items + SEQUENCE_END


def data_sets(depth: int, *, implicit: bool) -> st.SearchStrategy[bytes]:
    """Encode elements in any order; sequences in them are `depth` deep at most."""
    kinds = [plain(implicit=implicit), fragments(implicit=implicit)]
    if depth:
        kinds.append(sequence(depth, implicit=implicit))
    return st.lists(st.one_of(kinds), max_size=4).map(b"".join)


WHOLE: Final = st.one_of(data_sets(2, implicit=False), data_sets(2, implicit=True))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Change, insert or remove some bytes of a data set."""
    content = bytearray(draw(WHOLE))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(content)))
        content[start : start + draw(st.integers(0, 4))] = draw(
            st.one_of(
                st.binary(max_size=4), st.sampled_from([ITEM_END, SEQUENCE_END, b"UN", b"SQ"])
            )
        )
    return bytes(content)


def is_whole(element: DataElement | RawDataElement) -> bool:
    """Return whether pydicom read all of an element, and nothing that the walker refuses."""
    if isinstance(element, DataElement):  # a sequence of undefined length, or an empty value
        return element.is_empty or all(
            is_whole(inner) for item in element.value for inner in item.elements()
        )
    value = element.value or b""
    if element.tag.group == DELIMITERS:
        return int(element.tag) == SEQUENCE_DELIMITATION and not value
    vr = (element.VR or "UN")[:2]  # of "OB or OW" the first
    if not (vr.isalpha() and vr.isupper()):
        return False  # pydicom takes such bytes for a VR where they are a length
    return is_in_fragments(value) if element.length == UNDEFINED else len(value) == element.length


def is_in_fragments(value: bytes) -> bool:
    position = 0
    while position < len(value):
        if value[position : position + 4] != ITEM_BEGIN:
            return False
        position += HEAD_BYTES + struct.unpack_from("<L", value, position + 4)[0]
    return position == len(value)


def undefined_lengths(element: DataElement | RawDataElement) -> int:
    """Count the undefined lengths in an element, and in what pydicom has of its items."""
    if isinstance(element, RawDataElement):
        return (element.length == UNDEFINED) + (element.value or b"").count(b"\xff" * 4)
    if not isinstance(element.value, Sequence):
        return 0
    return 1 + sum(
        bool(item.is_undefined_length_sequence_item) + sum(map(undefined_lengths, item.elements()))
        for item in element.value
    )


def as_pydicom_reads(content: bytes, *, is_damaged: bool = False) -> list[tuple[int, int]] | None:
    """Return tag and length of each top-level element; None if these are not the whole content.

    Of two elements of an item that have one tag pydicom keeps the last, so that damage to the first
    would not be seen: None for that too.
    """
    stream = BytesIO(content + LAST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about VRs
        try:
            implicit = _is_implicit_vr(stream, False, True, None, is_sequence=False)  # noqa: FBT003 -- explicit, little endian
            stream.seek(0)
            found = list(data_element_generator(stream, implicit, is_little_endian=True))
            if (int(found.pop().tag), stream.tell()) != (
                TRAILING_PADDING,
                len(content + LAST),
            ) or not all(map(is_whole, found)):
                return None  # it takes a head cut short for the end
            if is_damaged and content.count(b"\xff" * 4) > sum(map(undefined_lengths, found)):
                return None
        except Exception:  # noqa: BLE001 -- it raises many kinds
            return None
    return [
        (int(each.tag), each.length if isinstance(each, RawDataElement) else UNDEFINED)
        for each in found
        if each.tag.group != DELIMITERS
    ]


def as_the_walker_reads(content: bytes) -> list[tuple[int, int]]:
    """Return the same of the walker, which reads a head of an element for eight bytes at most."""
    walker = ElementWalker(PlainBytes(BytesIO(content), len(content)), longest_value=4)
    found = [(element.tag, element.length) for _, element, _ in walker.elements()]
    assert len(found) <= len(content) // HEAD_BYTES
    return found


# an item with fragments that a byte was removed of, and another element of the same tag
TWICE_IN_AN_ITEM: Final = (
    head(0x00081140, "SQ", UNDEFINED, implicit=False)
    + struct.pack("<HHL", DELIMITERS, 0xE000, UNDEFINED)
    + head(0x7FE00010, "OB", UNDEFINED, implicit=False)
    + ITEM_BEGIN
    + b"\0\0\0"
    + SEQUENCE_END
    + head(0x7FE00010, "OB", UNDEFINED, implicit=False)
    + SEQUENCE_END
    + ITEM_END
    + SEQUENCE_END
)


@BOUNDED
@given(WHOLE)
def test_a_whole_data_set_is_read_as_pydicom_reads_it(content: bytes) -> None:
    expected = as_pydicom_reads(content)
    assert expected is not None, "the strategy builds whole data sets only"
    assert as_the_walker_reads(content) == expected


@BOUNDED
@given(damaged())
@example(TWICE_IN_AN_ITEM)
def test_what_pydicom_reads_of_a_damaged_data_set_the_walker_reads(content: bytes) -> None:
    expected = as_pydicom_reads(content, is_damaged=True)
    if expected is None:
        with contextlib.suppress(UndecodableError):
            as_the_walker_reads(content)
    else:
        assert as_the_walker_reads(content) == expected


@BOUNDED
@given(content=damaged(), implicit=st.booleans())
def test_a_damaged_data_set_is_read_with_its_items_or_is_undecodable(
    *, content: bytes, implicit: bool
) -> None:
    with contextlib.suppress(UndecodableError):
        assert len(list(elements(content, implicit=implicit))) <= len(content) // HEAD_BYTES
