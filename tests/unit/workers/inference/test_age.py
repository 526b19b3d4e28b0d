"""The age of a patient, from whatever a header holds."""

import math
import warnings
from datetime import date, timedelta
from io import BytesIO
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from synthetic.objects import make_cr
from synthetic.part10 import part10

from workers.inference.age import age_years
from workers.inference.header import parse_header

DATES: Final = ("StudyDate", "AcquisitionDate", "SeriesDate", "ContentDate")


def header(**values: str | bytes) -> Dataset:
    """Build a header of these elements, undecoded, as a file's header is."""
    found = Dataset()
    for keyword, value in values.items():
        tag, content = Tag(keyword), value.encode() if isinstance(value, str) else value
        vr = "AS" if keyword == "PatientAge" else "DA"
        found[tag] = RawDataElement(tag, vr, len(content), content, 0, False, True)  # noqa: FBT003 -- explicit, little endian
    return found


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("045Y", 45),
        ("003Y", 3),
        ("000Y", 0),
        ("018M", 1.5),
        ("012M", 1),
        ("026W", 26 * 7 / 365.25),
        ("010D", 10 / 365.25),
        ("45Y", 45),
        ("5y ", 5),
        (" 045Y", 45),
        ("45 Y", 45),
        ("4.5Y", 4.5),
        ("045Y\0", 45),
        ("045Y\\044Y", 45),
        ("51", 51),  # of RSNA's radiographs: years
        ("130Y", 130),
    ],
)
def test_a_stated_age_is_read_in_its_unit(text: str, age: float) -> None:
    assert age_years(header(PatientAge=text)) == pytest.approx(age)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "old",
        "Y",
        "-05Y",
        "+5Y",
        "0x5Y",
        "131Y",
        "155",
        "1e3Y",
        "5Z",
        "\N{ARABIC-INDIC DIGIT FOUR}Y",
        "045Y6M",
        "\xff",
        "NaN",
        "inf",
    ],
)
def test_what_is_no_age_of_a_person_is_none(text: str) -> None:
    assert age_years(header(PatientAge=text)) is None


@pytest.mark.parametrize(
    ("born", "taken", "age"),
    [
        ("19700101", "20260102", 56),
        ("2022.06.15", "2025.06.15", 3),
        ("2022-06-15", "20250614", 2),
        ("20200229", "20210228", 0),
        ("20200229", "20210301", 1),
        ("20200229", "20240229", 4),
        ("20260102", "20260102", 0),
    ],
)
def test_a_birth_date_counts_in_whole_years_as_people_count(
    born: str, taken: str, age: int
) -> None:
    found = age_years(header(PatientBirthDate=born, StudyDate=taken))
    assert found is not None
    assert math.floor(found) == age


@pytest.mark.parametrize(
    ("born", "taken"),
    [
        ("20260103", "20260102"),  # after the study
        ("18000101", "20260102"),
        ("00010101", "20260102"),
        ("19700132", "20260102"),
        ("19701301", "20260102"),
        ("1970", "20260102"),
        ("1970-0101", "20260102"),
        ("19700101", "yesterday"),
        ("19700101", ""),
        ("", "20260102"),
        ("00000000", "20260102"),
        ("20200101", "99991231"),
        ("20240229", "00010101"),  # no birthday in the year 0
    ],
)
def test_dates_that_make_no_sense_give_no_age(born: str, taken: str) -> None:
    assert age_years(header(PatientBirthDate=born, StudyDate=taken)) is None


@pytest.mark.parametrize("keyword", DATES)
def test_each_date_of_the_radiograph_serves(keyword: str) -> None:
    values = {"PatientBirthDate": "19700101", keyword: "20000101"}
    assert age_years(header(**values)) == 30


def test_the_first_date_that_makes_sense_counts() -> None:
    odd = header(PatientBirthDate="19700101", StudyDate="19000101", SeriesDate="20000101")
    assert age_years(odd) == 30
    both = header(PatientBirthDate="19700101", StudyDate="20000101", ContentDate="20200101")
    assert age_years(both) == 30


def test_a_stated_age_with_a_unit_counts_before_the_dates_and_one_without_after_them() -> None:
    dates = {"PatientBirthDate": "19700101", "StudyDate": "20000101"}
    assert age_years(header(PatientAge="004M", **dates)) == pytest.approx(1 / 3)
    assert age_years(header(PatientAge="004", **dates)) == 30
    assert age_years(header(PatientAge="old", **dates)) == 30
    assert age_years(header(PatientAge="300Y", **dates)) == 30


def test_a_header_without_any_of_them_gives_none() -> None:
    assert age_years(Dataset()) is None


@given(st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 1, 1)), st.integers(0, 47000))
def test_an_age_never_decreases_and_is_whole_on_each_birthday(born: date, days: int) -> None:
    def age(taken: date) -> float:
        found = age_years(header(PatientBirthDate=f"{born:%Y%m%d}", StudyDate=f"{taken:%Y%m%d}"))
        assert found is not None
        return found

    taken = born + timedelta(days=days)
    assert age(taken) <= age(taken + timedelta(days=1))
    assert age(taken) == pytest.approx(days / 365.2425, abs=0.02)
    if (taken.month, taken.day) == (born.month, born.day):
        assert age(taken) == taken.year - born.year


VALUES: Final = st.one_of(
    st.binary(max_size=40),
    st.text(alphabet="0123456789DWMYdwmy.-/ \\\0", max_size=12).map(str.encode),
    st.dates().map(lambda each: f"{each:%Y%m%d}".encode()),
)


@given(st.dictionaries(st.sampled_from(("PatientAge", "PatientBirthDate", *DATES)), VALUES))
def test_whatever_bytes_a_header_holds_there_is_an_age_of_a_person_or_none(
    values: dict[str, bytes],
) -> None:
    found = age_years(header(**values))
    assert found is None or 0 <= found <= 130


@given(st.binary(max_size=60))
def test_a_damaged_element_of_a_file_is_no_error_and_is_quoted_in_no_warning(
    value: bytes,
) -> None:
    dataset = make_cr(birth_date="")
    del dataset.StudyDate
    content = part10(dataset)
    value += b" " * (len(value) % 2)
    element = b"\x10\x00\x10\x10AS" + len(value).to_bytes(2, "little") + value
    place = content.index(b"\x20\x00\x0d\x00")  # before Study Instance UID
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = age_years(parse_header(BytesIO(content[:place] + element + content[place:])))
    assert found is None or 0 <= found <= 130


def test_a_value_of_another_kind_is_passed_over() -> None:
    odd = Dataset()
    odd.add_new("PatientAge", "SQ", [Dataset()])
    assert age_years(odd) is None
    odd.add_new("PatientBirthDate", "UN", b"19700101")
    odd.add_new("StudyDate", "DA", "20000101")
    assert age_years(odd) == 30


def test_reading_an_age_leaves_the_header_undecoded() -> None:
    found = header(PatientAge="045Y", PatientBirthDate="19700101", StudyDate="20000101")
    age_years(found)
    for keyword in ("PatientAge", "PatientBirthDate", "StudyDate"):
        assert isinstance(found.get_item(keyword), RawDataElement)
