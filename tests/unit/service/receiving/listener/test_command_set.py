import contextlib
import io
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.raw_scu import command_set
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ComputedRadiographyImageStorage
from pynetdicom.dsutils import encode

from service.dicom.uids import is_uid
from service.receiving.acceptance import StoreCommand
from service.receiving.listener.command_set import (
    C_ECHO_RQ,
    C_STORE_RQ,
    Request,
    Response,
    decode,
    encode_response,
    fragments,
)
from service.receiving.listener.refusals import ProtocolError

CR = str(ComputedRadiographyImageStorage)
UID = "1.2.3.45"
REQUEST = Request(
    field=C_STORE_RQ,
    message_id=7,
    has_data_set=True,
    command=StoreCommand(sop_class_uid=CR, sop_instance_uid=UID),
)


def pydicom_reads(encoded: bytes) -> Dataset:
    return read_dataset(io.BytesIO(encoded), is_implicit_VR=True, is_little_endian=True)


def test_a_request_is_read_as_it_was_sent() -> None:
    sent = command_set(CR, C_STORE_RQ, 7, has_data_set=True, sop_instance=UID)
    assert decode(sent) == REQUEST


def test_a_request_with_vrs_is_read_although_the_standard_has_none() -> None:
    sent = pydicom_reads(command_set(CR, C_STORE_RQ, 7, has_data_set=True, sop_instance=UID))
    encoded = encode(sent, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    assert decode(encoded) == REQUEST


def test_an_identifier_with_the_vr_of_a_text_is_no_uid() -> None:
    sent = pydicom_reads(command_set(CR, C_STORE_RQ, 7, has_data_set=True, sop_instance=UID))
    sent["AffectedSOPInstanceUID"].VR = "LO"
    encoded = encode(sent, is_implicit_vr=False, is_little_endian=True)
    assert encoded is not None
    request = decode(encoded)
    assert isinstance(request, Request)
    assert request.command.sop_class_uid == CR
    assert not is_uid(request.command.sop_instance_uid)


def test_what_follows_a_long_identifier_is_read() -> None:
    sent = command_set("9" * 300, C_STORE_RQ, 7, has_data_set=True, sop_instance=UID)
    request = decode(sent)
    assert isinstance(request, Request)
    assert (request.message_id, request.command.sop_instance_uid) == (7, UID)


def test_what_a_request_leaves_out_is_blank() -> None:
    request = decode(command_set(None, C_ECHO_RQ, 1, has_data_set=False))
    assert isinstance(request, Request)
    assert request.command == StoreCommand(sop_class_uid="", sop_instance_uid="")
    assert not request.has_data_set


def test_pydicom_reads_an_answer_as_it_was_meant() -> None:
    answer = pydicom_reads(encode_response(REQUEST, 0xA700))
    assert answer.CommandField == 0x8001
    assert answer.MessageIDBeingRespondedTo == 7
    assert answer.Status == 0xA700
    assert answer.CommandDataSetType == 0x0101
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CR, UID)


def test_an_answers_elements_are_in_order_and_counted() -> None:
    encoded = encode_response(REQUEST, 0)
    answer = pydicom_reads(encoded)
    assert answer.CommandGroupLength == len(encoded) - 12
    places = [encoded.index(struct.pack("<HH", 0, each.tag.element)) for each in answer]
    assert all(former < latter for former, latter in pairwise(places))


@pytest.mark.parametrize("said", ["", "../../etc/passwd", "1" * 65, "\u00e9"])
def test_what_is_no_uid_is_not_said_again(said: str) -> None:
    request = Request(
        field=C_STORE_RQ,
        message_id=1,
        has_data_set=True,
        command=StoreCommand(sop_class_uid=said, sop_instance_uid=said),
    )
    answer = pydicom_reads(encode_response(request, 0xA900))
    assert "AffectedSOPClassUID" not in answer
    assert "AffectedSOPInstanceUID" not in answer


@pytest.mark.parametrize("longest_pdu", [0, 1, 6, 7, 8, 64, 134, 16384])
def test_an_answer_fits_the_peers_pdus_as_far_as_anything_can(longest_pdu: int) -> None:
    encoded = encode_response(REQUEST, 0)
    cut = list(fragments(encoded, longest_pdu))
    assert b"".join(each[1:] for each in cut) == encoded
    assert [each[0] for each in cut] == [0x01] * (len(cut) - 1) + [0x03]
    assert {len(each) % 2 for each in cut} == {1}, "even, after the control header: PS3.8 annex E"
    if longest_pdu > 7:  # an even fragment has two bytes at least
        assert max(map(len, cut)) + 5 <= longest_pdu


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_none(encoded: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode(encoded), Request | Response)
