"""Tests of storage commitment at the listener: requests and results, valid and malformed."""

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from peers.committing_pacs import CLASS, INSTANCE, referenced
from peers.raw_scu import Sender as Scu
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from support.listener import CR, RunningListener, Stores
from support.system.ports import LOOPBACK, free_port
from synthetic.objects import make_cr

from service.dicom.reactor_pause import held, install
from service.dicom.statuses import SUCCESS
from service.dicom.storage_commitment import MOST_INSTANCES
from service.settings import CommitmentPeer
from service.storage.ledger.work.commitment_requests import MOST_OPEN
from service.telemetry.metrics import COMMITMENT_REQUESTS

Listen = Callable[..., AbstractContextManager[RunningListener]]
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)


class Asker:
    """An SCU that requests commitment and receives the result on its own association."""

    def __init__(self, association: Association, events: list[tuple[int, Dataset]]) -> None:
        self.association = association
        self.events = events

    def ask(self, *instances: tuple[str, str], transaction_uid: str = "1.2.3.4") -> int:
        information = Dataset()
        information.TransactionUID = transaction_uid
        information.ReferencedSOPSequence = [referenced(*each) for each in instances]
        with held(self.association):
            status, _ = self.association.send_n_action(information, 1, CLASS, INSTANCE)
        return int(status.Status)

    def event(self) -> tuple[int, Dataset]:
        until = time.monotonic() + 60
        while not self.events and time.monotonic() < until:
            time.sleep(0.01)
        return self.events.pop(0)


@contextmanager
def asking(
    listener: RunningListener, calling: str = "MODALITY", syntax: str = EXPLICIT
) -> Iterator[Asker]:
    events: list[tuple[int, Dataset]] = []

    def receive(event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's
        events.append((event.event_type, event.event_information))
        return 0, None

    ae = AE(ae_title=calling)
    ae.add_requested_context(CLASS, syntax)
    association = ae.associate(
        LOOPBACK, listener.port, evt_handlers=[(evt.EVT_N_EVENT_REPORT, receive)]
    )
    assert association.is_established
    install(association)
    yield Asker(association, events)
    if association.is_established:
        association.release()


def stored(listener: RunningListener) -> tuple[str, str]:
    dataset = make_cr(rows=8, columns=8)
    assert listener.store(dataset) == SUCCESS
    return CR, str(dataset.SOPInstanceUID)


def rejected() -> float:
    return float(COMMITMENT_REQUESTS.labels(outcome="rejected")._value.get())


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_sender_without_an_address_gets_the_result_on_its_own_association(
    listener: RunningListener, syntax: str
) -> None:
    instances = [stored(listener), stored(listener)]
    with asking(listener, syntax=syntax) as asker:
        assert asker.ask(*instances) == 0
        event_type, information = asker.event()
        assert (event_type, information.TransactionUID) == (1, "1.2.3.4")
        assert "FailedSOPSequence" not in information
        told = [
            (each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID)
            for each in information.ReferencedSOPSequence
        ]
        assert told == instances
        assert asker.ask(instances[0], transaction_uid="1.2.3.5") == 0, "and may ask again"
        assert asker.event()[1].TransactionUID == "1.2.3.5"
    listener.require_working()


def test_what_is_not_here_fails_with_a_reason(listener: RunningListener, stores: Stores) -> None:
    known, lost = stored(listener), stored(listener)
    (job,) = stores.jobs_of(lost[1])
    stores.spool.discard(job.id)
    other_class = ("1.2.840.10008.5.1.4.1.1.2", known[1])
    with asking(listener) as asker:
        assert asker.ask(known, lost, (CR, "1.2.3.4.5"), other_class) == 0
        event_type, information = asker.event()
    failed = {
        (each.ReferencedSOPClassUID, each.ReferencedSOPInstanceUID): each.FailureReason
        for each in information.FailedSOPSequence
    }
    assert event_type == 2
    assert failed == {lost: 0x0112, (CR, "1.2.3.4.5"): 0x0112, other_class: 0x0119}
    assert len(information.ReferencedSOPSequence) == 1


def test_the_largest_request_is_answered_whole(listener: RunningListener) -> None:
    known = stored(listener)
    unknown = [(CR, f"1.2.3.{number}") for number in range(MOST_INSTANCES - 1)]
    with asking(listener) as asker:
        began = time.monotonic()
        assert asker.ask(known, *unknown) == 0
        _, information = asker.event()
        assert time.monotonic() - began < 20
        assert len(information.FailedSOPSequence) == len(unknown)
        assert asker.ask(known, *unknown, (CR, "1.2.4")) == 0x0213


def test_a_sender_with_an_address_is_answered_once_its_request_is_durable(
    listen: Listen, stores: Stores
) -> None:
    peer = CommitmentPeer(ae_title="KNOWN", host=LOOPBACK, port=free_port())
    with listen(commitment_peers=(peer,)) as listener, asking(listener, calling="KNOWN") as asker:
        instances = [stored(listener), (CR, "1.2.3.4.5")]
        assert asker.ask(*instances) == 0
        assert asker.ask(*instances) == 0, "the same again is the same"
        assert asker.ask(instances[0]) == 0x0131, "for other instances it is another's name"
        (request,) = stores.ledger.commitment_requests.lease("w/", 9, lease_seconds=60)
        assert (request.calling_ae_title, request.transaction_uid) == ("KNOWN", "1.2.3.4")
        assert [(e.sop_class_uid, e.sop_instance_uid) for e in request.instances] == instances
        stores.ledger.commitment_requests.give_up(request)
        assert asker.events == []


def test_a_sender_with_too_many_open_requests_is_refused(listen: Listen, stores: Stores) -> None:
    peer = CommitmentPeer(ae_title="EAGER", host=LOOPBACK, port=free_port())
    for number in range(MOST_OPEN):
        stores.ledger.commitment_requests.receive("EAGER", f"1.2.{number}", [])
    with listen(commitment_peers=(peer,)) as listener, asking(listener, calling="EAGER") as asker:
        assert asker.ask((CR, "1.2.3")) == 0x0213
    while requests := stores.ledger.commitment_requests.lease("w/", 999, lease_seconds=60):
        for each in requests:
            stores.ledger.commitment_requests.give_up(each)


def command(field: int, **elements: tuple[int, bytes]) -> bytes:
    """Encode a command set of N-ACTION or N-EVENT-REPORT with these elements."""
    given = {
        "field": (0x0100, struct.pack("<H", field)),
        "message_id": (0x0110, struct.pack("<H", 1)),
        "data_set": (0x0800, struct.pack("<H", 1)),
        **elements,
    }
    encoded = b"".join(
        struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in sorted(given.values())
    )
    return struct.pack("<HHLL", 0, 0, 4, len(encoded)) + encoded


def uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


ACTION = {
    "sop_class": (0x0003, uid(CLASS)),
    "sop_instance": (0x1001, uid(INSTANCE)),
    "type": (0x1008, struct.pack("<H", 1)),
}
EVENT = {
    "sop_class": (0x0002, uid(CLASS)),
    "sop_instance": (0x1000, uid(INSTANCE)),
    "type": (0x1002, struct.pack("<H", 1)),
}
NO_TYPE = {"type": (0x0700, b"\0\0")}
NO_CLASS = {"sop_class": (0x0700, b"\0\0")}


@pytest.mark.parametrize(
    ("encoded", "data_set", "status"),
    [
        (command(0x0130, **ACTION), b"nonsense", 0x0110),
        (command(0x0130, **ACTION), b"", 0x0115),
        (command(0x0130, **ACTION), bytes(3 << 20), 0x0213),
        (command(0x0130, **{**ACTION, **NO_TYPE}), b"", 0x0123),
        (command(0x0130, **{**ACTION, **NO_CLASS}), b"", 0x0118),
        (command(0x0130, **{**ACTION, "sop_instance": (0x1001, b"1.2.3\0")}), b"", 0x0112),
        (command(0x0130, **{**ACTION, "type": (0x1008, b"\2\0")}), b"", 0x0123),
        (command(0x0100, **EVENT), b"nonsense", 0x0110),
        (command(0x0100, **EVENT), b"", 0x0115),
        (command(0x0100, **{**EVENT, "type": (0x1002, b"\7\0")}), b"", 0x0113),
        (command(0x0100, **{**EVENT, **NO_TYPE}), b"", 0x0113),
    ],
)
def test_a_malformed_request_or_result_is_answered_with_a_failure(
    listener: RunningListener, encoded: bytes, data_set: bytes, status: int
) -> None:
    with listener.sender(((CLASS, EXPLICIT),)) as sender:
        for _ in range(2):
            sender._message_id = 1
            sender.send_fragments(1, encoded, is_command=True)
            sender.send_fragments(1, data_set, is_command=False)
            assert sender.status() == status
        sender.release()
    listener.require_working()


def test_a_request_without_a_data_set_is_answered_with_a_failure(listener: RunningListener) -> None:
    before = rejected()
    without = {"data_set": (0x0800, struct.pack("<H", 0x0101))}
    with listener.sender(((CLASS, EXPLICIT),)) as sender:
        sender._message_id = 1
        sender.send_fragments(1, command(0x0130, **ACTION, **without), is_command=True)
        assert sender.status() == 0x0115
        sender.release()
    assert rejected() == before + 1


def test_what_a_context_is_not_for_ends_the_association(listener: RunningListener) -> None:
    def closed_upon(contexts: tuple[tuple[str, str], ...], say: Callable[[Scu], None]) -> bool:
        with listener.sender(contexts) as sender:
            say(sender)
            return sender.is_closed_upon()

    commitment, store = ((CLASS, EXPLICIT),), ((CR, EXPLICIT),)
    assert closed_upon(commitment, lambda each: each.begin_store(CLASS, "1.2.3"))
    action, n_get = command(0x0130, **ACTION), command(0x0110, **ACTION)
    assert closed_upon(store, lambda each: each.send_fragments(1, action, is_command=True))
    assert closed_upon(commitment, lambda each: each.send_fragments(1, n_get, is_command=True))
    listener.require_working()


def test_a_sender_that_vanishes_in_the_midst_of_a_request_leaves_nothing(
    listener: RunningListener,
) -> None:
    with listener.sender(((CLASS, EXPLICIT),)) as sender:
        sender.send_fragments(1, command(0x0130, **ACTION), is_command=True)
        sender.send_fragments(1, bytes(1000), is_command=False, is_whole=False)
        sender.abort()
    listener.require_working()


def test_an_answer_that_is_none_ends_the_association(listener: RunningListener) -> None:
    with listener.sender(((CLASS, EXPLICIT),)) as sender:
        sender.send_fragments(1, command(0x8100, **EVENT), is_command=True)
        assert sender.is_closed_upon()


def test_a_request_holds_up_no_instance(listener: RunningListener) -> None:
    """An unfinished request keeps only its own association busy."""
    with listener.sender(((CLASS, EXPLICIT),)) as sender:
        sender.send_fragments(1, command(0x0130, **ACTION), is_command=True)
        sender.send_fragments(1, bytes(1 << 19), is_command=False, is_whole=False)
        began = time.monotonic()
        stored(listener)
        assert time.monotonic() - began < 10
        sender.send_fragments(1, b"\0\0", is_command=False)
        sender._message_id = 1
        assert sender.status() != SUCCESS
        sender.release()
