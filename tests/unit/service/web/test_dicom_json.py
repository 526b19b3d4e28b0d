"""Headers as the DICOM JSON model: what any bytes give, and what the standard's examples give."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.web.dicomweb.header import UnreadableHeaderError, read_whole
from service.web.dicomweb.json_model import attribute, encodings_of, vr_of

VRS = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OW", "PN"),
    *("SH", "SL", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV"),
)
CHARSETS = ("", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "GB18030", "ISO_IR 999", "\udcff")


@given(st.sampled_from(VRS), st.binary(max_size=200), st.sampled_from(CHARSETS))
def test_any_bytes_of_any_vr_give_json_or_are_left_out(vr: str, value: bytes, term: str) -> None:
    encodings = encodings_of(term.encode("utf-8", "surrogateescape"))
    read = attribute(vr, value, encodings)
    assert read is None or read["vr"] == vr
    json.dumps(read, allow_nan=False)


@given(st.integers(0, 0xFFFFFFFF), st.sampled_from([None, b"OB", b"LO", b"XX", b"SQ"]))
def test_every_tag_has_a_vr(tag: int, stated: bytes | None) -> None:
    assert vr_of(tag, stated) in {*VRS, "OF", "OD", "OL", "OV", "SQ"}


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("PN", b"Yamada^Tarou=\xe5\xb1\xb1=\xe3\x82\x84 ", {"Alphabetic": "Yamada^Tarou"}),
        ("DS", b"1.50\\2", 1.5),
        ("IS", b"-7 ", -7),
        ("AT", b"\x10\x00\x20\x00", "00100020"),
        ("US", b"\x01\x02", 513),
        ("UI", b"1.2.3\0", "1.2.3"),
        ("LT", b"a\\b ", "a\\b"),
        ("LO", b" a \\b", "a"),
        ("FL", b"\x00\x00\xc0\x7f\x00\x00\x80\x3f", None),
    ],
)
def test_a_value_is_written_as_the_standard_has_it(vr: str, value: bytes, expected: object) -> None:
    """PS3.18 F.2; what is no number is null."""
    read = attribute(vr, value, encodings_of(b"ISO_IR 192"))
    assert read is not None
    first = read["Value"][0]
    if vr == "PN":
        assert first.keys() == {"Alphabetic", "Ideographic", "Phonetic"}
        assert first["Ideographic"] == "山"
        first = {"Alphabetic": first["Alphabetic"]}
    assert first == expected


@pytest.mark.parametrize(("vr", "value"), [("DS", b"wide"), ("IS", b"1.5"), ("US", b"\x01")])
def test_a_value_that_is_none_is_left_out(vr: str, value: bytes) -> None:
    assert attribute(vr, value, ["ascii"]) is None


@pytest.fixture(scope="module")
def whole() -> bytes:
    dataset = make_cr(rows=8, columns=8)
    inner = Dataset()
    inner.CodeValue, inner.CodeMeaning = "1", "one"
    dataset.AnatomicRegionSequence = [inner, Dataset()]
    return part10(dataset)


@given(data=st.data())
def test_whatever_is_changed_in_a_file_it_is_read_or_refused(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(132, len(whole) - 130))] = data.draw(st.integers(0, 255))
    path = Path(tmp_path_factory.getbasetemp()) / "changed.dcm"
    path.write_bytes(changed[: data.draw(st.integers(132, len(whole)))])
    try:
        header = read_whole(path)
    except UnreadableHeaderError:
        return
    json.dumps(header.attributes, allow_nan=False)
    for stretch in (header.pixels, header.document):
        assert stretch is None or stretch.offset + stretch.length <= len(changed)
