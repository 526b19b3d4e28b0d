"""The bundle's command reads the same age from a file as the service."""

import io
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian
from scripts.preprocessing.age import read_age
from scripts.preprocessing.load import LoadRadiographd
from synthetic.objects import encode, make_cr
from synthetic.part10 import part10
from synthetic.pictures import chest

from workers.inference.age import age_years
from workers.inference.header import parse_header

KEYWORDS: Final = (
    *("PatientAge", "PatientBirthDate", "StudyDate", "AcquisitionDate", "SeriesDate"),
    "ContentDate",
)
VALUES: Final = st.one_of(
    st.binary(max_size=20),
    st.text("0123456789DWMYdwmy. ", max_size=5).map(str.encode),
    st.dates().map(lambda each: f"{each:%Y%m%d}".encode()),
)


def file_with(values: dict[str, bytes], syntax: str = ImplicitVRLittleEndian) -> bytes:
    """Write a file with these bytes as the values of elements."""
    dataset = make_cr(rows=64, columns=64)
    for keyword in KEYWORDS:
        value = values.get(keyword, b"")
        value += b" " * (len(value) % 2)
        tag = Tag(keyword)
        vr = "AS" if keyword == "PatientAge" else "DA"
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)  # noqa: FBT003 -- explicit, little endian
    return part10(encode(dataset, syntax))


@given(st.dictionaries(st.sampled_from(KEYWORDS), VALUES))
def test_bundle_and_service_read_the_same_age(values: dict[str, bytes]) -> None:
    content = file_with(values)
    assert read_age(content) == age_years(parse_header(io.BytesIO(content)))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_an_age_is_read_in_every_encoding_of_a_header(syntax: str) -> None:
    assert read_age(file_with({"PatientAge": b"018M"}, syntax)) == 1.5
    dates = {"PatientBirthDate": b"20220615", "StudyDate": b"20260102"}
    assert read_age(file_with(dates, syntax)) == pytest.approx(3.55, abs=0.01)


@given(st.binary(max_size=400))
def test_bytes_that_are_no_data_set_give_no_age(content: bytes) -> None:
    assert read_age(bytes(128) + b"DICM" + content) is None


def test_an_age_is_read_only_where_it_is_asked_for_and_a_picture_has_none(tmp_path: Path) -> None:
    load = LoadRadiographd("image")
    (tmp_path / "a.dcm").write_bytes(file_with({"PatientAge": b"003Y"}))
    given: dict[Hashable, Any] = {"image": str(tmp_path / "a.dcm")}
    assert load({**given, "image_age_years": None})["image_age_years"] == 3
    assert "image_age_years" not in load(given)
    Image.fromarray(chest(64, 64, 8).astype("u1")).save(tmp_path / "a.png")
    picture: dict[Hashable, Any] = {"image": str(tmp_path / "a.png"), "image_age_years": None}
    assert load(picture)["image_age_years"] is None
