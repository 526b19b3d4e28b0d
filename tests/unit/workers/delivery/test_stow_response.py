"""DIMSE statuses of a DICOMweb service's responses to one object."""

import json
import zlib
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.dicom.statuses import (
    SUCCESS,
)
from workers.delivery.response_body import MAXIMUM_BYTES, UnreadableError, inflate
from workers.delivery.stored_output import (
    WARNINGS,
)
from workers.delivery.stow_response import dimse_status, is_about_the_object

UID, OTHER = "2.25.1", "2.25.2"
STORED, FAILED, OTHER_FAILURES = "00081199", "00081198", "0008119A"
WARNING, FAILURE = "00081196", "00081197"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(UID),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([STORED, FAILED, "Value", "00081155", WARNING, FAILURE]), inner
        )
    ),
    max_leaves=20,
)


def item(uid: str = UID, /, **numbers: object) -> dict[str, object]:
    named = {"00081155": {"vr": "UI", "Value": [uid]}}
    return named | {tag: {"vr": "US", "Value": [value]} for tag, value in numbers.items()}


def body(**sequences: Sequence[Mapping[str, object]]) -> bytes:
    found = {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items()}
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("http", "response", "status"),
    [
        (200, body(**{STORED: [item()]}), 0x0000),
        (200, body(**{STORED: [item(OTHER), item()]}), 0x0000),
        (200, b"[" + body(**{STORED: [item()]}) + b"]", 0x0000),
        (202, body(**{STORED: [item(**{WARNING: 0xB000})]}), 0xB000),
        (202, body(**{STORED: [item(**{WARNING: 0xB007})]}), 0xB007),
        (202, body(**{STORED: [item(**{WARNING: "45062"})]}), 0xB006),
        (202, body(**{STORED: [item(**{WARNING: 0xA700})]}), 0xB000),
        (200, body(**{FAILED: [item(**{FAILURE: 0xA900})]}), 0xA900),
        (409, body(**{FAILED: [item(**{FAILURE: 0x0122})]}), 0x0122),
        (409, body(**{FAILED: [item(**{FAILURE: 0xA700})]}), 0xA700),
        (409, body(**{FAILED: [item(**{FAILURE: 0xC123})]}), 0xC123),
        (409, body(**{FAILED: [item(**{FAILURE: 0x0111})]}), 0x0111),
        (409, body(**{FAILED: [item(**{FAILURE: 45070})]}), 0x0111),
        (202, body(**{FAILED: [item(**{FAILURE: 0xA700})], STORED: [item()]}), 0xA700),
        (200, body(**{OTHER_FAILURES: [{FAILURE: {"vr": "US", "Value": [0xC122]}}]}), 0xC122),
        (409, body(**{FAILED: [{FAILURE: {"vr": "US", "Value": [0x0122]}}]}), 0x0122),
        (202, body(**{STORED: [{WARNING: {"vr": "US", "Value": [0xB000]}}]}), 0x0110),
    ],
)
def test_the_body_about_the_object_counts_whatever_the_http_status(
    http: int, response: bytes, status: int
) -> None:
    assert dimse_status(http, response, UID) == status


@pytest.mark.parametrize("reason", [0x0000, 0xB000, 0xB007, 0x0001, -1, 70_000, "x", None, 1.5])
def test_what_failed_was_not_taken_whatever_the_reason_would_mean_elsewhere(reason: object) -> None:
    response = body(**{FAILED: [item(**{FAILURE: reason})]})
    for http in (200, 202, 409):
        assert dimse_status(http, response, UID) == 0x0110


@pytest.mark.parametrize("http", [200, 201, 204])
@pytest.mark.parametrize("response", [b"", b"{}", b"[]", b"<NativeDicomModel/>"])
def test_success_without_any_item_is_success(http: int, response: bytes) -> None:
    assert dimse_status(http, response, UID) == 0x0000


@pytest.mark.parametrize("http", [200, 202, 204])
@pytest.mark.parametrize(
    "response",
    [b"<xml/>", b'"stored"', b"\xff", b"{", None, b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'],
)
def test_success_with_a_body_that_cannot_be_read_is_not_known(
    http: int, response: bytes | None
) -> None:
    assert dimse_status(http, response, UID) is None


@pytest.mark.parametrize("response", [b"", b"{}", body(**{STORED: []})])
def test_acceptance_that_names_nothing_is_not_known(response: bytes) -> None:
    assert dimse_status(202, response, UID) is None


WITHOUT_ATTRIBUTES: list[dict[str, object]] = [{}]


def native(tag: str, *numbers: tuple[str, int]) -> bytes:
    inner = f'<DicomAttribute tag="00081155" vr="UI"><Value number="1">{UID}</Value>'
    inner += "</DicomAttribute>" + "".join(
        f'<DicomAttribute tag="{each}" vr="US"><Value number="1">{number}</Value></DicomAttribute>'
        for each, number in numbers
    )
    item = f'<DicomAttribute tag="{tag}" vr="SQ"><Item number="1">{inner}</Item></DicomAttribute>'
    name = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
    return f'<NativeDicomModel xmlns="{name}">{item}</NativeDicomModel>'.encode()


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("http", "response", "status"),
    [
        (200, native(STORED), 0x0000),
        (202, native(STORED, (WARNING, 0xB000)), 0xB000),
        (200, native(FAILED, (FAILURE, 0xA900)), 0xA900),
        (409, native(FAILED, (FAILURE, 0x0111)), 0x0111),
        (200, b"\xef\xbb\xbf" + body(**{STORED: [item()]}), 0x0000),
        (207, body(**{OTHER_FAILURES.lower(): WITHOUT_ATTRIBUTES, STORED: [item()]}), 0x0000),
    ],
)
def test_xml_and_multipart_are_read_as_json_is(
    http: int, response: bytes, status: int, *, wrapped: bool
) -> None:
    if wrapped:
        response = b"--b\r\nContent-Type: a/b\r\n\r\n" + response + b"\r\n--b--\r\n"
    assert dimse_status(http, response, UID) == status


@pytest.mark.parametrize("window", [31, 15, -15])
def test_a_coded_body_is_inflated_within_a_bound(window: int) -> None:
    coding = "gzip" if window == 31 else "deflate"

    def coded(content: bytes) -> bytes:
        stream = zlib.compressobj(wbits=window)
        return stream.compress(content) + stream.flush()

    assert inflate(coded(b"{}"), coding) == b"{}"
    for damaged in (coded(b" " * (MAXIMUM_BYTES + 1)), coded(b"abc" * 99)[:-9], b"\xff"):
        with pytest.raises(UnreadableError):
            inflate(damaged, coding)


@pytest.mark.parametrize("tag", [STORED, FAILED])
def test_success_of_another_object_is_no_success_of_this_one(tag: str) -> None:
    assert dimse_status(200, body(**{tag: [item(OTHER)]}), UID) == 0x0110


@pytest.mark.parametrize(
    ("http", "status"),
    [
        (400, 0xC000),
        (409, 0x0110),
        (413, 0x0110),
        (415, 0xC000),
        (422, 0xC000),
        (507, 0xA700),
    ],
)
def test_a_refusal_that_is_not_explained_is_one_all_the_same(http: int, status: int) -> None:
    named = (body(**{FAILED: []}), body(**{FAILED: [item(OTHER)]}))
    for response in (b"", b"{}", b"not json", *named):
        assert dimse_status(http, response, UID) == status


@pytest.mark.parametrize("http", [301, 307, 401, 403, 404, 405, 429, 500, 502, 503, 504])
def test_a_response_about_the_service_says_nothing_about_the_object(http: int) -> None:
    assert not is_about_the_object(http)


@given(http=st.sampled_from([200, 202, 400, 409]), response=JSON)
def test_any_response_gives_a_status(http: int, response: object) -> None:
    status = dimse_status(http, json.dumps(response).encode(), UID)
    assert status is None or 0 <= status <= 0xFFFF


@given(response=st.binary(max_size=200))
def test_a_response_that_cannot_be_read_is_never_taken_for_success(response: bytes) -> None:
    status = dimse_status(409, response, UID)
    assert status not in WARNINGS | {SUCCESS}
