"""The groups of an instance, from its header and the network's input."""

import io
from typing import Final

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from synthetic.objects import make_cr

from service.domain.monitoring.inputs import NOT_STATED
from workers.inference.drift_inputs import drift_inputs, tone
from workers.inference.header import parse_header
from workers.inference.model_io import Pixels

EVEN: Final[Pixels] = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8)


def header_of(**values: object) -> Dataset:
    """Return a header as the worker reads it, its elements undecoded."""
    instance = make_cr()
    for keyword, value in values.items():
        setattr(instance, keyword, value)
    stream = io.BytesIO()
    instance.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return parse_header(stream)


def test_a_header_that_says_all_is_read() -> None:
    header = header_of(
        Manufacturer="GE MEDICAL SYSTEMS",
        ViewPosition="PA",
        KVP="120",
        ExposureInuAs="3200",
        Exposure="3",
        Rows=2022,
        Columns=1800,
    )
    found = drift_inputs(header, EVEN)
    assert (found.manufacturer, found.view, found.kvp) == ("ge", "PA", "120 to 130")
    assert (found.exposure, found.size) == ("2 to 4", "1536 to 2048")
    assert found.tone == "0.5 to 0.525"


@pytest.mark.parametrize(
    ("values", "group"),
    [
        ({"Exposure": "5"}, "4 to 8"),
        ({"XRayTubeCurrent": "200", "ExposureTime": "10"}, "2 to 4"),
        ({"XRayTubeCurrent": "200"}, NOT_STATED),
        ({"ExposureInuAs": "0", "Exposure": "1"}, "1 to 2"),
        ({"Exposure": "0"}, NOT_STATED),
        ({}, NOT_STATED),
    ],
)
def test_the_exposure_is_stated_in_several_ways(values: dict[str, str], group: str) -> None:
    assert drift_inputs(header_of(**values), EVEN).exposure == group


def test_what_a_header_does_not_say_is_not_stated() -> None:
    bare = Dataset()
    found = drift_inputs(bare, EVEN)
    assert {found.manufacturer, found.view, found.kvp, found.exposure, found.size} == {NOT_STATED}


@pytest.mark.parametrize("value", [b"12x", b"\xff\xfe", b"", b"1e999", b"NaN", b"-80"])
def test_a_value_that_cannot_be_read_is_not_stated(value: bytes) -> None:
    header = header_of()
    for tag in (0x00180060, 0x00181152, 0x00280010, 0x00185101):
        vr = {0x00280010: "US", 0x00185101: "CS"}.get(tag, "DS")
        header[tag] = RawDataElement(
            Tag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True
        )
    found = drift_inputs(header, EVEN)
    assert found.kvp in {NOT_STATED, "130 and more"}
    assert found.exposure in {NOT_STATED, "32 and more"}


def test_the_header_stays_undecoded_for_the_report() -> None:
    header = header_of(Manufacturer="Agfa", KVP="70")
    before = {tag: header.get_item(tag) for tag in header.keys()}  # noqa: SIM118 -- iterating decodes
    drift_inputs(header, EVEN)
    assert {tag: header.get_item(tag) for tag in header.keys()} == before  # noqa: SIM118
    assert isinstance(header.get_item(0x00180060), RawDataElement)


def test_the_tone_does_not_depend_on_the_scale_of_the_input() -> None:
    assert tone(EVEN) == pytest.approx(0.5)
    assert tone(EVEN * 700 + 3) == pytest.approx(tone(EVEN))
    assert tone(EVEN**2) != pytest.approx(tone(EVEN), abs=0.05)
    assert tone(np.zeros((1, 4, 4), np.float32)) is None
