import contextlib
import io
import re
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from support.open_gate import BUNDLE
from synthetic.objects import encode, make_cr, make_dx
from synthetic.part10 import part10

from service.dicom.byte_sources import TooLargeError, TruncatedError, UndecodableError
from service.dicom.element_reader import LARGEST_INFLATED, read_file_meta, read_header
from service.dicom.element_walker import MOST_ELEMENTS
from service.dicom.uids import identifier
from service.receiving.acceptance import IDENTIFIERS, SOP_INSTANCE_UID

NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
PLENTY = 1 << 24
LAST = struct.pack("<HH2sH", 0x0020, 0x000E, b"UI", 4) + b"1.2\0"
IDENTIFIED = b"".join(
    struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"UI", 4) + b"1.2\0"
    for tag in sorted(IDENTIFIERS)
)
PIXELS = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OW", 6) + b"pixels"


def read_file(file: bytes) -> Dataset:
    stream = io.BytesIO(file)
    arrived = read_file_meta(stream)
    return read_header(
        stream,
        identifier(arrived.meta, 0x00020010),
        size_bytes=arrived.size_bytes,
        tags=IDENTIFIERS,
        most_bytes=PLENTY,
    )


def read(data_set: bytes, syntax: str = ExplicitVRLittleEndian, most: int = PLENTY) -> Dataset:
    return read_header(
        io.BytesIO(data_set),
        syntax,
        size_bytes=len(data_set),
        tags=IDENTIFIERS,
        most_bytes=most,
    )


def stated(dataset: Dataset) -> list[str]:
    return [str(dataset[tag].value) for tag in IDENTIFIERS]


def found(dataset: Dataset) -> list[str]:
    return [identifier(dataset, tag) for tag in IDENTIFIERS]


def nested(depth: int) -> Dataset:
    """Encode sequences in items in sequences, all of undefined length."""
    dataset = make_cr(rows=8, columns=8)
    inner = dataset
    for _ in range(depth):
        item = Dataset()
        item.is_undefined_length_sequence_item = True
        inner.RequestAttributesSequence = Sequence([item])
        inner["RequestAttributesSequence"].is_undefined_length = True
        inner = item
    inner.StudyInstanceUID = "9.9.9"  # of an item, not of the data set
    return dataset


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("make", [make_cr, make_dx])
def test_the_identifiers_are_those_that_pydicom_reads(make, syntax) -> None:  # noqa: ANN001
    dataset = make(rows=16, columns=16)
    assert found(read_file(part10(encode(dataset, syntax)))) == stated(dataset)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: uid.keyword)
def test_sequences_are_gone_past_whatever_they_hold(syntax: UID) -> None:
    dataset = nested(20)
    dataset.file_meta.TransferSyntaxUID = syntax
    assert found(read_file(part10(dataset))) == stated(dataset)


def test_big_endian_is_read() -> None:
    uid = struct.pack(">HH2sH", 0x0008, 0x0018, b"UI", 4) + b"1.2\0"
    pixels = struct.pack(">HH2s2xL", 0x7FE0, 0x0010, b"OW", 2) + b"\0\0"
    assert identifier(read(uid + pixels, ExplicitVRBigEndian), SOP_INSTANCE_UID) == "1.2"


@pytest.mark.parametrize("said", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("done", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_bytes_are_believed_rather_than_the_transfer_syntax(said: UID, done: UID) -> None:
    dataset = make_cr(rows=8, columns=8)
    dataset.file_meta.TransferSyntaxUID = done
    file = io.BytesIO(part10(dataset))
    data_set = file.getvalue()[read_file_meta(file).offset :]
    assert found(read(data_set, said)) == stated(dataset)


def test_an_element_in_implicit_vr_within_explicit_vr_is_read() -> None:
    uid = struct.pack("<HHL", 0x0008, 0x0018, 4) + b"1.2\0"
    assert identifier(read(LAST + uid + PIXELS), SOP_INSTANCE_UID) == "1.2"


def test_unknown_vr_of_undefined_length_holds_implicit_vr() -> None:
    unknown = struct.pack("<HH2s2xL", 0x0009, 0x1001, b"UN", 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    inside = struct.pack("<HHL", 0x4142, 0x4343, 2) + b"ab"
    ends = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    assert identifier(read(unknown + item + inside + ends + LAST + PIXELS), 0x0020000E) == "1.2"


@pytest.mark.parametrize("number", [0xE00D, 0xE0DD], ids=["item", "sequence"])
def test_a_stray_delimiter_at_the_top_level_is_passed_over(number: int) -> None:
    stray = struct.pack("<HHL", 0xFFFE, number, 0)
    for data_set in (stray + LAST + PIXELS, LAST + stray + PIXELS):
        assert identifier(read(data_set), 0x0020000E) == "1.2"


def test_unknown_vr_of_undefined_length_may_hold_explicit_vr() -> None:
    unknown = struct.pack("<HH2s2xL", 0x0010, 0x2202, b"UN", 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    inside = struct.pack("<HH2sH", 0x0008, 0x0100, b"SH", 4) + b"D2  "
    ends = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    nested = unknown + item + inside + ends
    for content in (inside, nested):
        data_set = unknown + item + content + ends + LAST + PIXELS
        assert identifier(read(data_set), 0x0020000E) == "1.2"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_first_file_meta_information_counts(syntax: UID) -> None:
    dataset = make_cr(rows=8, columns=8)
    dataset.file_meta.TransferSyntaxUID = syntax
    file = part10(dataset)
    offset = read_file_meta(io.BytesIO(file)).offset
    second = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", 22) + b"1.2.840.10008.1.2.4.70"
    changed = file[:offset] + second + file[offset:]
    meta = read_file_meta(io.BytesIO(changed))
    assert (identifier(meta.meta, 0x00020010), meta.offset) == (syntax, offset)
    assert found(read_file(changed)) == stated(dataset)


def test_a_data_set_that_holds_none_of_them_is_not_taken_for_an_empty_one() -> None:
    assert len(read(struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 2) + b"A ")) == 1
    assert len(read(b"")) == 0
    assert len(read(zlib.compressobj(wbits=-15).flush(), DeflatedExplicitVRLittleEndian)) == 0


def test_a_value_too_long_for_an_identifier_is_cut_not_lost() -> None:
    uid = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 1000) + b"1" * 1000
    assert 64 < len(identifier(read(uid + PIXELS), SOP_INSTANCE_UID)) < 1000


def test_what_follows_the_pixel_data_does_not_matter() -> None:
    assert len(read(LAST + PIXELS + b"\0\0\0")) == 1


@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless], ids=lambda uid: uid.keyword)
def test_a_file_cut_short_within_an_element_is_truncated(syntax: str) -> None:
    file = part10(encode(make_cr(rows=16, columns=16), syntax))
    size = len(file)
    cut = [1, 2, 7, 100, 511]
    if syntax == DeflatedExplicitVRLittleEndian:
        cut = [20, 100, size // 4]  # zlib's last bytes may hold no data
    for missing in cut:
        with pytest.raises(TruncatedError):
            read_file(file[: size - missing])


def test_every_shortening_of_a_data_set_is_truncated_or_ends_between_elements() -> None:
    whole = struct.pack("<HH2sH", 0x0008, 0x0018, b"UI", 4) + b"1.2\0" + LAST + PIXELS
    between = {0, len(whole) - len(PIXELS) - len(LAST), len(whole) - len(PIXELS), len(whole)}
    for length in range(len(whole) + 1):
        if length in between:
            read(whole[:length])
        else:
            with pytest.raises(TruncatedError):
                read(whole[:length])


def test_fragments_without_their_delimiter_are_truncated() -> None:
    pixels = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF)
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + struct.pack("<HHL", 0xFFFE, 0xE000, 2) + b"ab"
    end = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    read(LAST + pixels + items + end)
    with pytest.raises(TruncatedError):
        read(LAST + pixels + items)


@pytest.mark.parametrize(
    "data_set",
    [
        struct.pack("<HHL", 0xFFFE, 0xE000, 0) + PIXELS,
        struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + PIXELS,
    ],
    ids=["an item outside a sequence", "pixel data of undefined length without items"],
)
def test_what_is_no_data_set_is_undecodable(data_set: bytes) -> None:
    with pytest.raises(UndecodableError):
        read(data_set)


def test_bytes_that_do_not_inflate_are_undecodable() -> None:
    with pytest.raises(UndecodableError):
        read(b"\xff" * 100, DeflatedExplicitVRLittleEndian)


def test_a_deflated_data_set_may_not_inflate_without_bounds() -> None:
    pixels = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OW", PLENTY) + bytes(PLENTY)
    deflator = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflator.compress(LAST + pixels) + deflator.flush()
    assert len(deflated) < PLENTY // 500
    with pytest.raises(TooLargeError):
        read(deflated, DeflatedExplicitVRLittleEndian, most=PLENTY // 2)
    read(deflated, DeflatedExplicitVRLittleEndian, most=2 * PLENTY)


def deflated_beyond_any_limit(before: bytes, tag: tuple[int, int], behind: bytes) -> bytes:
    """Deflate a data set with an element of zeros that inflates beyond what is read."""
    deflator = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    zeros = struct.pack("<HH2s2xL", *tag, b"OB", LARGEST_INFLATED)
    parts = [deflator.compress(before + zeros)]
    parts += [deflator.compress(bytes(1 << 20)) for _ in range(LARGEST_INFLATED >> 20)]
    return b"".join([*parts, deflator.compress(behind), deflator.flush()])


@pytest.mark.slow
def test_a_data_set_that_inflates_beyond_what_is_read_needs_its_identifiers_before_that() -> None:
    deflated = deflated_beyond_any_limit(IDENTIFIED, (0x7FE0, 0x0010), b"")
    read_ = read(deflated, DeflatedExplicitVRLittleEndian, most=2 * LARGEST_INFLATED)
    assert found(read_) == ["1.2"] * 4
    with pytest.raises(TooLargeError):  # a lower limit of the configuration counts
        read(deflated, DeflatedExplicitVRLittleEndian, most=LARGEST_INFLATED)
    deflated = deflated_beyond_any_limit(b"", (0x0007, 0x1001), IDENTIFIED)
    with pytest.raises(UndecodableError):
        read(deflated, DeflatedExplicitVRLittleEndian, most=2 * LARGEST_INFLATED)


def test_the_bundle_reads_no_more_of_a_deflated_data_set() -> None:
    source = (BUNDLE / "scripts" / "preprocessing" / "data_set.py").read_text()
    (shift,) = re.findall(r"^_LARGEST_INFLATED: Final = (\d+) << 20", source, re.MULTILINE)
    assert int(shift) << 20 == LARGEST_INFLATED


def test_sequences_nested_without_end_exhaust_no_stack() -> None:
    sequence = struct.pack("<HH2s2xL", 0x0040, 0x0275, b"SQ", 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    with pytest.raises(TruncatedError):
        read((sequence + item) * 100_000)


def test_elements_without_end_are_undecodable() -> None:
    with pytest.raises(UndecodableError):
        read(struct.pack("<HH2sH", 0x0009, 0x0010, b"LO", 0) * (MOST_ELEMENTS + 1))


@pytest.mark.parametrize(
    "file",
    [b"", b"DICM", b"\0" * 132, b"\0" * 128 + b"DICM\x02", b"\x89PNG" + b"\0" * 300],
)
def test_what_is_no_part_10_file_is_undecodable_or_without_meta(file: bytes) -> None:
    with contextlib.suppress(UndecodableError):
        assert len(read_file_meta(io.BytesIO(file)).meta) == 0


@given(st.binary(max_size=400), st.sampled_from([*NATIVE, ExplicitVRBigEndian]))
def test_any_bytes_give_a_header_or_are_undecodable(data_set: bytes, syntax: str) -> None:
    with contextlib.suppress(UndecodableError, TooLargeError):
        read(data_set, syntax)


@given(st.binary(max_size=200))
def test_any_file_meta_is_read_or_undecodable(meta: bytes) -> None:
    with contextlib.suppress(UndecodableError):
        read_file_meta(io.BytesIO(b"\0" * 128 + b"DICM" + b"\x02\0" + meta))
