"""Tests that names are read in every character set of PS3.5, and that nothing in them raises."""

import io
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmwrite
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from synthetic.objects import encode, make_cr, make_dx

from service.dicom.element_reader import read_file_meta, read_header
from service.dicom.patient_attributes import LONGEST_TEXT, PATIENT_TAGS, read_patient
from service.dicom.uids import identifier
from service.domain.patient import Patient
from service.receiving.acceptance import IDENTIFIERS

NAMES = {  # PS3.5 annexes H, I and J, and PS3.5 6.2.1
    "ISO_IR 6": (b"Adams^John", "Adams^John"),
    "ISO_IR 100": ("Buc^Jérôme".encode("latin_1"), "Buc^Jérôme"),
    "ISO_IR 101": ("Wałęsa^Łukasz".encode("iso8859_2"), "Wałęsa^Łukasz"),
    "ISO_IR 109": ("Ħal^Ġorġ".encode("iso8859_3"), "Ħal^Ġorġ"),
    "ISO_IR 110": ("Bērziņš^Jānis".encode("iso8859_4"), "Bērziņš^Jānis"),
    "ISO_IR 126": ("Διονυσιος".encode("iso_ir_126"), "Διονυσιος"),
    "ISO_IR 127": ("قباني^لنزار".encode("iso_ir_127"), "قباني^لنزار"),
    "ISO_IR 138": ("שרון^דבורה".encode("iso_ir_138"), "שרון^דבורה"),
    "ISO_IR 144": ("Жданов".encode("iso_ir_144"), "Жданов"),
    "ISO_IR 148": ("Çavuşoğlu".encode("iso_ir_148"), "Çavuşoğlu"),
    "ISO_IR 166": ("สมชาย".encode("iso_ir_166"), "สมชาย"),
    "ISO_IR 192": ("Wang^XiaoDong=王^小東=".encode(), "Wang^XiaoDong=王^小東="),
    "GB18030": ("Wang^XiaoDong=王^小东=".encode("gb18030"), "Wang^XiaoDong=王^小东="),
    "GBK": ("Wang^XiaoDong=王^小东=".encode("gbk"), "Wang^XiaoDong=王^小东="),
    "\\ISO 2022 IR 87": (
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "ISO 2022 IR 13\\ISO 2022 IR 87": (
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=",
    ),
    "\\ISO 2022 IR 149": (
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "\\ISO 2022 IR 58": (
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东=",
    ),
    "ISO 2022 IR 100\\ISO 2022 IR 144": (
        "Dupré^".encode("latin_1") + b"\x1b-L" + "Иван".encode("iso_ir_144"),
        "Dupré^Иван",
    ),
}


def header_of(**values: Any) -> Dataset:  # noqa: ANN401 -- bytes, or a pair of VR and bytes
    """Build an undecoded header, as `read_header` returns it."""
    elements: dict[BaseTag, DataElement | RawDataElement] = {}
    for keyword, given_value in values.items():
        vr, value = given_value if isinstance(given_value, tuple) else (None, given_value)
        tag = Tag(keyword)
        elements[tag] = RawDataElement(tag, vr, len(value), value, 0, vr is None, True)  # noqa: FBT003
    return Dataset(elements)


def named(character_set: bytes, name: bytes) -> str:
    return read_patient(
        header_of(SpecificCharacterSet=character_set, PatientName=name)
    ).patient_name


@pytest.mark.parametrize("character_set", list(NAMES))
def test_a_name_is_read_in_every_character_set(character_set: str) -> None:
    encoded, name = NAMES[character_set]
    assert named(character_set.encode(), encoded) == name


def test_jis_x_0212_is_read_after_its_escape() -> None:
    text = "丂丄"
    encoded = text.encode("iso2022_jp_2")
    assert encoded.startswith(b"\x1b$(D")
    assert named(b"\\ISO 2022 IR 87\\ISO 2022 IR 159", b"A=" + encoded) == f"A={text}"


@pytest.mark.parametrize(
    "spelling", [b"ISO-IR 100", b"iso_ir 100 ", b"ISO 2022-IR 100", b"ISO 8859-1", b"ISO_IR 100\0"]
)
def test_a_misspelt_character_set_is_understood(spelling: bytes) -> None:
    assert named(spelling, b"J\xe9r\xf4me") == "Jérôme"


@pytest.mark.parametrize(
    "character_set", [b"", b"ISO_IR 6", b"KLINGON", b"zlib_codec", b"\xff\xfe"]
)
def test_without_a_known_character_set_utf_8_counts_and_else_latin_1(character_set: bytes) -> None:
    assert named(character_set, "Jérôme=王".encode()) == "Jérôme=王"
    assert named(character_set, b"J\xe9r\xf4me") == "Jérôme"


def test_what_cannot_be_decoded_is_replaced() -> None:
    assert named(b"ISO_IR 192", b"M\xfcller^Eva") == "M\N{REPLACEMENT CHARACTER}ller^Eva"
    assert named(b"\\ISO 2022 IR 149", b"A=\x1b$)C\xfb").startswith("A=")
    assert named(b"\\ISO 2022 IR 87", b"A=\x1b$B;") != ""


@pytest.mark.parametrize("character_set", [b"ISO_IR 192\\ISO 2022 IR 87", b"\\ISO_IR 192"])
def test_a_character_set_that_stands_alone_needs_no_escape(character_set: bytes) -> None:
    assert named(character_set, "山田".encode()) == "山田"


def test_the_second_byte_of_a_character_is_no_separator_of_values() -> None:
    encoded = b"\x81\x5c^\x81\x5e"
    name = encoded.decode("gb18030")
    assert "\\" not in name
    assert named(b"GB18030", encoded) == name


def test_control_characters_and_marks_of_direction_are_taken_out() -> None:
    name = "Doe\0^\x1b\x07Jane\r\n\u202etxt.exe\u2066"
    shown = named(b"ISO_IR 192", name.encode())
    assert "Jane" in shown
    assert all(unicodedata.category(each) not in {"Cc", "Cf"} for each in shown)


def test_of_several_values_the_first_counts() -> None:
    patient = read_patient(header_of(PatientID=b"A1\\B2", Modality=b"CR\\DX ", PatientName=b"A\\B"))
    assert (patient.patient_id, patient.modality, patient.patient_name) == ("A1", "CR", "A")


def test_a_long_value_is_cut() -> None:
    patient = read_patient(
        header_of(PatientName=b"N" * LONGEST_TEXT, PatientID=b"9" * 900, PatientSex=b"M" * 900)
    )
    lengths = (len(patient.patient_name), len(patient.patient_id), len(patient.sex))
    assert lengths == (324, 64, 16)


@pytest.mark.parametrize("vr", ["OB", "US", "FD", "SQ", "OW"])
def test_a_value_that_is_no_text_is_blank(vr: str) -> None:
    assert read_patient(header_of(PatientName=(vr, b"Doe^Jane"))) == Patient()


@pytest.mark.parametrize("vr", ["UN", "LT", "ST", "CS"])
def test_a_text_of_another_vr_is_read(vr: str) -> None:
    assert read_patient(header_of(PatientName=(vr, b"Doe^Jane"))).patient_name == "Doe^Jane"


@pytest.mark.parametrize(
    ("text", "date"),
    [
        (b"20200229", "20200229"),
        (b"2020.02.29", "20200229"),
        (b"2020-02-29 ", "20200229"),
        (b"20210229", ""),
        (b"1959", ""),
        (b"00000000", ""),
        (b"yesterday", ""),
        ("".join(chr(0xFF10 + int(each)) for each in "20200229").encode(), ""),
        (b"", ""),
    ],
)
def test_a_date_is_a_day_of_the_calendar_or_blank(text: bytes, date: str) -> None:
    assert read_patient(header_of(PatientBirthDate=text)).birth_date == date


@given(
    character_set=st.binary(max_size=60)
    | st.sampled_from(sorted(NAMES)).map(lambda term: term.encode()),
    value=st.binary(max_size=300),
)
def test_no_header_raises_and_each_value_can_be_stored(character_set: bytes, value: bytes) -> None:
    patient = read_patient(
        header_of(
            SpecificCharacterSet=character_set,
            PatientName=value,
            PatientID=value,
            PatientBirthDate=value,
            Modality=value,
        )
    )
    for text in (patient.patient_name, patient.patient_id, patient.modality):
        text.encode()  # no half of a pair, which PostgreSQL refuses like the zero
        assert not any(unicodedata.category(each) == "Cc" for each in text)


def read_file(dataset: Dataset) -> Patient:
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    part10 = read_file_meta(stream)
    header = read_header(
        stream,
        identifier(part10.meta, 0x00020010),
        size_bytes=part10.size_bytes,
        tags=IDENTIFIERS,
        most_bytes=1 << 24,
        texts=PATIENT_TAGS,
        longest_text=LONGEST_TEXT,
    )
    assert all(identifier(header, tag) for tag in IDENTIFIERS)
    return read_patient(header)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, "1.2.840.10008.1.2", DeflatedExplicitVRLittleEndian]
)
def test_a_whole_file_is_read_in_each_syntax(syntax: str) -> None:
    dataset = make_dx(rows=16, columns=16, patient_name="Test^Größe", charset="ISO_IR 192")
    dataset.PatientID, dataset.AccessionNumber, dataset.PatientSex = "ID-1", "ACC-1", "F"
    dataset.StudyDate, dataset.PatientBirthDate = "20260102", "20200102"
    assert read_file(encode(dataset, syntax)) == Patient(
        patient_name="Test^Größe",
        patient_id="ID-1",
        birth_date="20200102",
        sex="F",
        accession_number="ACC-1",
        study_date="20260102",
        modality="DX",
        view_position="PA",
    )


def test_a_header_without_any_of_them_is_blank() -> None:
    dataset = make_cr(rows=16, columns=16)
    for tag in PATIENT_TAGS:
        if tag in dataset:
            del dataset[tag]
    assert read_file(dataset) == Patient()
