"""Tests of reading data sets whose structure is not quite the standard's, as senders write them."""

import struct
import zlib

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from scripts.preprocessing.load import read_radiograph
from scripts.refusal import RadiographRefusedError, RefusalCode
from synthetic.objects import make_cr
from synthetic.part10 import part10

CODE = struct.pack("<HH2sH", 0x0008, 0x0100, b"SH", 4) + b"D2  "
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
UNKNOWN = struct.pack("<HH2s2xL", 0x0010, 0x2202, b"UN", 0xFFFFFFFF)
OTHER_SYNTAX = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", 22) + b"1.2.840.10008.1.2.4.70"


def file_and_data_set() -> tuple[bytes, bytes]:
    """Return the bytes up to the data set, and those of the data set."""
    content = part10(make_cr())
    begins = 144 + int.from_bytes(content[140:144], "little")
    return content[:begins], content[begins:]


def with_inserted(insert: bytes) -> bytes:
    meta, data_set = file_and_data_set()
    place = data_set.index(struct.pack("<HH2s", 0x0018, 0x0015, b"CS"))
    return meta + data_set[:place] + insert + data_set[place:]


@pytest.mark.parametrize(
    "insert",
    [
        ITEM_END,
        SEQUENCE_END,
        UNKNOWN + ITEM + CODE + ITEM_END + SEQUENCE_END,
        UNKNOWN + ITEM + UNKNOWN + ITEM + CODE + (ITEM_END + SEQUENCE_END) * 2,
    ],
    ids=["item delimiter", "sequence delimiter", "UN with explicit VR", "the same, nested"],
)
def test_an_odd_structure_gives_the_same_pixels(insert: bytes) -> None:
    plain = read_radiograph(b"".join(file_and_data_set()))
    np.testing.assert_array_equal(read_radiograph(with_inserted(insert)), plain)


def test_the_first_file_meta_information_counts() -> None:
    meta, data_set = file_and_data_set()
    plain = read_radiograph(meta + data_set)
    np.testing.assert_array_equal(read_radiograph(meta + OTHER_SYNTAX + data_set), plain)


def test_a_text_that_mentions_deflate_is_no_deflate() -> None:
    text = (
        struct.pack("<HH2sH", 0x0010, 0x4000, b"LT", 22) + DeflatedExplicitVRLittleEndian.encode()
    )
    np.testing.assert_array_equal(
        read_radiograph(with_inserted(text)), read_radiograph(b"".join(file_and_data_set()))
    )


def test_what_inflates_without_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.preprocessing.data_set._LARGEST_INFLATED", 1 << 24)
    meta, _ = file_and_data_set()
    meta = meta.replace(
        struct.pack("<H", 20) + ExplicitVRLittleEndian.encode() + b"\0",
        struct.pack("<H", 22) + DeflatedExplicitVRLittleEndian.encode(),
    )
    deflator = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = b"".join(deflator.compress(bytes(1 << 24)) for _ in range(2)) + deflator.flush()
    with pytest.raises(RadiographRefusedError) as raised:
        read_radiograph(meta + deflated)
    assert raised.value.code == RefusalCode.SIZE
