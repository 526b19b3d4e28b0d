"""Tests of rejection: each has its status, leaves nothing, and affects no other sender."""

import copy
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from peers.raw_scu import Sender, command_set, data_set_bytes
from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
)
from structlog.testing import capture_logs
from support.listener import CR, RunningListener
from support.lobar_process import wait_for
from synthetic.objects import encode, make_cr

from service.domain.reasons import Reason

OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0xA700, 0xA900, 0xC000
PATHS = ["../../../../etc/passwd", "/etc/passwd", "1.2.3/../4", "C:\\windows"]


@pytest.fixture(autouse=True)
def _nothing_is_kept_and_the_service_goes_on(listener: RunningListener) -> Iterator[None]:
    inbox = listener.stores.inbox()
    received = listener.stores.ledger.queries.job_counts().received
    yield
    assert listener.stores.inbox() == inbox
    wait_for(lambda: listener.stores.incoming() == [], seconds=60)  # a sender sees the abort first
    assert listener.stores.ledger.queries.job_counts().received == received
    listener.require_working()


def cr() -> Dataset:
    return make_cr(rows=16, columns=16)


def without(keyword: str) -> Dataset:
    dataset = cr()
    delattr(dataset, keyword)
    return dataset


def store(listener: RunningListener, dataset: Dataset, **said: str | None) -> int:
    """Store a data set under the identifiers of another command."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    sop_class = said.get("sop_class", CR)
    sop_instance = said.get("sop_instance", str(dataset.file_meta.MediaStorageSOPInstanceUID))
    with listener.sender(((CR, syntax),)) as sender:
        return sender.store(sop_class, sop_instance, data_set_bytes(dataset))


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_an_instance_without_an_identifier_does_not_match(
    listener: RunningListener, keyword: str
) -> None:
    assert store(listener, without(keyword)) == MISMATCH


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_the_place_of_a_uid_does_not_match(listener: RunningListener, path: str) -> None:
    sent = data_set_bytes(dataset := cr())
    uid = dataset.StudyInstanceUID.encode()
    sent = sent.replace(uid, path.encode().ljust(len(uid), b"/"))
    assert listener.store(dataset, sent) == MISMATCH


@pytest.mark.parametrize("path", PATHS)
def test_a_path_in_the_place_of_the_commands_uid_does_not_match(
    listener: RunningListener, path: str
) -> None:
    assert store(listener, cr(), sop_instance=path) == MISMATCH


def test_a_uid_of_65_characters_does_not_match(listener: RunningListener) -> None:
    sent = data_set_bytes(dataset := cr())
    uid = dataset.SeriesInstanceUID.encode()
    uid += b"\0" * (len(uid) % 2)
    was = struct.pack("<HH2sH", 0x0020, 0x000E, b"UI", len(uid)) + uid
    assert was in sent
    longer = struct.pack("<HH2sH", 0x0020, 0x000E, b"UI", 66) + b"1." + b"2" * 63 + b"\0"
    assert listener.store(dataset, sent.replace(was, longer)) == MISMATCH


@pytest.mark.parametrize("uid", ["1.2.840.x", "1" * 66, "one", "1..2"])
def test_a_commands_uid_that_is_none_does_not_match(listener: RunningListener, uid: str) -> None:
    assert store(listener, cr(), sop_instance=uid) == MISMATCH


@pytest.mark.parametrize("missing", ["sop_class", "sop_instance"])
def test_a_command_without_an_identifier_is_answered(
    listener: RunningListener, missing: str
) -> None:
    assert store(listener, cr(), **{missing: None}) == MISMATCH


def test_another_sop_instance_than_the_commands_does_not_match(listener: RunningListener) -> None:
    assert store(listener, cr(), sop_instance="1.2.3") == MISMATCH


def test_another_sop_class_than_the_commands_does_not_match(listener: RunningListener) -> None:
    dataset = cr()
    dataset.SOPClassUID = CTImageStorage
    assert store(listener, dataset) == MISMATCH


def test_a_class_that_was_not_negotiated_does_not_come_in_under_anothers_name(
    listener: RunningListener,
) -> None:
    dataset = cr()
    dataset.SOPClassUID = CTImageStorage
    assert store(listener, dataset, sop_class=CTImageStorage) == MISMATCH


@pytest.mark.parametrize("vr", [b"OB", b"SQ", b"PN", b"ZZ"])
def test_a_needed_element_of_a_wrong_vr_does_not_match(
    listener: RunningListener, vr: bytes
) -> None:
    sent = data_set_bytes(dataset := cr())
    at = sent.index(struct.pack("<HH", 0x0020, 0x000D))
    wrong = sent[: at + 4] + vr + sent[at + 6 :]
    assert listener.store(dataset, wrong) in {MISMATCH, CANNOT_UNDERSTAND}


def test_an_empty_data_set_cannot_be_understood(listener: RunningListener) -> None:
    assert listener.store(cr(), b"") == CANNOT_UNDERSTAND


def test_a_store_without_a_data_set_cannot_be_understood(listener: RunningListener) -> None:
    with listener.sender() as sender:
        sender.begin_store(CR, "1.2.3", has_data_set=False)
        assert sender.status() == CANNOT_UNDERSTAND
        assert association_continues(sender)


@pytest.mark.parametrize("garbage", [b"GARBAGE " * 100, b"\0" * 999, b"\xff" * 512, b"{}"])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_garbage_cannot_be_understood(
    listener: RunningListener, garbage: bytes, syntax: str
) -> None:
    with listener.sender(((CR, syntax),)) as sender:
        assert sender.store(CR, "1.2.3", garbage) in {CANNOT_UNDERSTAND, MISMATCH}


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        JPEGLosslessSV1,
        RLELossless,
    ],
)
@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_a_truncated_instance_cannot_be_understood(
    listener: RunningListener, syntax: str, part: float
) -> None:
    dataset = encode(make_cr(rows=64, columns=64), syntax)
    sent = data_set_bytes(dataset)
    assert listener.store(dataset, sent[: int(len(sent) * part)]) == CANNOT_UNDERSTAND


def test_sequences_nested_without_end_cannot_be_understood(listener: RunningListener) -> None:
    sequence = struct.pack("<HH2s2xL", 0x0040, 0x0275, b"SQ", 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    assert listener.store(cr(), (sequence + item) * 20_000) == CANNOT_UNDERSTAND


def test_what_inflates_beyond_the_limit_is_refused(
    listen: Callable[..., AbstractContextManager[RunningListener]],
) -> None:
    dataset = encode(cr(), DeflatedExplicitVRLittleEndian)
    huge = copy.deepcopy(dataset)
    huge.PixelData = bytes(1 << 22)
    sent = data_set_bytes(huge)
    assert len(sent) < 1 << 16
    assert len(zlib.decompress(sent, -zlib.MAX_WBITS)) > 1 << 22
    with listen(maximum_instance_bytes=1 << 20) as small:
        assert small.store(huge, sent) == OUT_OF_RESOURCES


def test_what_is_larger_than_the_limit_is_refused(
    listen: Callable[..., AbstractContextManager[RunningListener]],
) -> None:
    dataset = make_cr(rows=512, columns=512)
    with listen(maximum_instance_bytes=1 << 18) as small:
        assert small.store(dataset) == OUT_OF_RESOURCES
        assert small.stores.incoming() == []


def test_a_rejection_on_an_association_does_not_end_it(listener: RunningListener) -> None:
    with listener.sender() as sender:
        for bad in (b"", b"GARBAGE ", data_set_bytes(without("StudyInstanceUID"))):
            assert sender.store(CR, "1.2.3", bad) != 0x0000
        assert association_continues(sender)


def test_an_unexpected_error_is_answered_and_counted(
    listener: RunningListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("a fault of ours")

    dataset = cr()
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(listener.stores.spool, "accept", fail)
        assert listener.store(dataset) == 0x0110
    (event,) = [each for each in logs if each["event"] == "instance_rejected"]
    assert event["reason"] is Reason.INTERNAL_ERROR


def association_continues(sender: Sender) -> bool:
    """Return whether this association still gets responses, by one more request that is refused."""
    return sender.store(CR, "1.2.3", b"") == CANNOT_UNDERSTAND


@pytest.mark.parametrize(
    "field", [0x0010, 0x0020, 0x0021, 0x0100, 0x0130, 0x8001, 0x0FFF, 0x7777], ids=hex
)
def test_a_request_that_was_not_negotiated_ends_the_association(
    listener: RunningListener, field: int
) -> None:
    with listener.sender() as sender:
        command = command_set(CR, field, 1, has_data_set=False)
        sender.send_fragments(1, command, is_command=True)
        assert sender.is_closed_upon()


def test_a_data_set_that_nobody_announced_ends_the_association(listener: RunningListener) -> None:
    with listener.sender() as sender:
        sender.send_fragments(1, data_set_bytes(cr()), is_command=False)
        assert sender.is_closed_upon()


def test_a_command_within_a_data_set_ends_the_association(listener: RunningListener) -> None:
    with listener.sender() as sender:
        sender.begin_store(CR, "1.2.3")
        sender.begin_store(CR, "1.2.4")
        assert sender.is_closed_upon()


def test_a_context_that_was_not_accepted_ends_the_association(listener: RunningListener) -> None:
    with listener.sender() as sender:
        sender.begin_store(CR, "1.2.3", context_id=99)
        assert sender.is_closed_upon()


def test_a_data_set_under_another_context_ends_the_association(listener: RunningListener) -> None:
    contexts = ((CR, ExplicitVRLittleEndian), (CR, ImplicitVRLittleEndian))
    with listener.sender(contexts) as sender:
        sender.begin_store(CR, "1.2.3", context_id=1)
        sender.send_fragments(3, data_set_bytes(cr()), is_command=False)
        assert sender.is_closed_upon()


def test_a_command_without_end_ends_the_association(listener: RunningListener) -> None:
    with listener.sender() as sender:
        sender.send_fragments(1, b"\0" * 100_000, is_command=True, is_whole=False)
        assert sender.is_closed_upon()


@pytest.mark.parametrize("garbage", [b"", b"\xff", b"GARBAGE!" * 9, b"\0" * 64])
def test_a_command_that_is_none_ends_the_association(
    listener: RunningListener, garbage: bytes
) -> None:
    with listener.sender() as sender:
        sender.send_fragments(1, garbage, is_command=True)
        assert sender.is_closed_upon()


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0\0\1\1",
        struct.pack(">LBB", 1, 1, 3),
        struct.pack(">LBB", 1 << 31, 1, 3) + b"ab",
        struct.pack(">LBB", 100, 1, 3) + b"ab",
    ],
    ids=["half a header", "no room for the control header", "2 GiB", "longer than its PDU"],
)
def test_a_fragment_that_is_none_ends_the_association(
    listener: RunningListener, body: bytes
) -> None:
    with listener.sender() as sender:
        sender.say(struct.pack(">BxL", 4, len(body)) + body)
        assert sender.is_closed_upon()
