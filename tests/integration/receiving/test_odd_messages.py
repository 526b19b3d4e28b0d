"""C-STORE messages that odd senders send: what DCMTK accepts is accepted, the rest is refused.

Whatever is answered Success is kept byte for byte, and nothing else is kept.
"""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import pytest
from peers.dcmtk import StoreSCP
from peers.odd_messages import (
    CLOSED,
    COMMANDS,
    FRAGMENTS,
    Answer,
    Instance,
    answer,
    usual,
)
from peers.raw_scu import (
    ABORT,
    RELEASE_RP,
    RELEASE_RQ,
    Closed,
    Rejected,
    Sender,
    associate_rq,
    data_set_bytes,
    p_data,
    pdu,
)
from pydicom import dcmread
from structlog.testing import capture_logs
from support.listener import CR_EXPLICIT, RunningListener
from support.lobar_process import wait_for
from synthetic.objects import make_cr

from service.telemetry.metrics import ASSOCIATION_REFUSALS

MESSAGES: Final = COMMANDS | FRAGMENTS
REFUSED: Final[dict[str, Answer]] = {
    "no message id": CLOSED,
    "no instance uid": 0xA900,
    "empty instance uid": 0xA900,
    "no class uid": 0xA900,
    "no data set type": CLOSED,
    "data before the command ended": CLOSED,
    "a command without its end, then data": CLOSED,
    "data that says it is a command": CLOSED,
    "another context for the data": CLOSED,
}
VIOLATIONS: Final = {
    "no message id": "invalid-command",
    "no data set type": "invalid-command",
    "data before the command ended": "unexpected-data-set",
    "a command without its end, then data": "unexpected-data-set",
    "data that says it is a command": "unexpected-command",
    "another context for the data": "unexpected-data-set",
    "data behind the last fragment": "unexpected-data-set",
}


def new_instance() -> Instance:
    dataset = make_cr(rows=16, columns=16)
    return Instance(str(dataset.SOPInstanceUID), data_set_bytes(dataset))


def wait_until_free(listener: RunningListener) -> None:
    wait_for(lambda: not listener.associations(), seconds=60)
    assert listener.stores.incoming() == []


def kept(listener: RunningListener, instance: Instance) -> bytes | None:
    """Return what is kept of an instance, once its association has ended."""
    wait_until_free(listener)
    jobs = listener.stores.jobs_of(instance.uid)
    return listener.kept_data_set(instance.uid) if jobs else None


@pytest.mark.parametrize("name", MESSAGES)
def test_an_odd_message_is_taken_whole_or_refused_with_a_reason(
    listener: RunningListener, name: str
) -> None:
    instance = new_instance()
    with capture_logs() as logs:
        with listener.sender() as sender:
            found = MESSAGES[name](sender, instance)
        held = kept(listener, instance)
    assert found == REFUSED.get(name, 0)
    assert held == (instance.data_set if found == 0 else None)
    violations = [each["violation"] for each in logs if each["event"] == "association_aborted"]
    assert violations == [each for each in [VIOLATIONS.get(name)] if each]


@pytest.mark.dcmtk
@pytest.mark.slow
def test_whatever_dcmtk_accepts_is_accepted(storescp: Callable[..., StoreSCP]) -> None:
    receiver = storescp()
    accepted = []
    for name, say in MESSAGES.items():
        instance = new_instance()
        with sender_to(receiver) as sender:
            if say(sender, instance) == 0:
                accepted.append(name)
    assert len(accepted) > 25
    assert set(accepted) & set(REFUSED) == set()
    assert {dcmread(each).Rows for each in receiver.received()} == {16}


def sender_to(receiver: StoreSCP) -> Sender:
    """Associate; storescp may still be busy with the association that it aborted."""

    def associate() -> Sender | None:
        with suppress(Closed):
            return Sender(receiver.port, CR_EXPLICIT, called=receiver.ae_title)
        return None

    sender: Sender = wait_for(associate, seconds=30)
    return sender


def ask_to_release(sender: Sender) -> None:
    sender.say(pdu(RELEASE_RQ, bytes(4)))


def send(sender: Sender, instance: Instance) -> None:
    sender.send_fragments(1, usual(instance), is_command=True)
    sender.send_fragments(1, instance.data_set, is_command=False)


def test_a_release_within_a_data_set_keeps_nothing(listener: RunningListener) -> None:
    instance = new_instance()
    with listener.sender() as sender:
        sender.send_fragments(1, usual(instance), is_command=True)
        sender.send_fragments(1, instance.data_set[:500], is_command=False, is_whole=False)
        ask_to_release(sender)
        with suppress(Closed):
            sender.read_pdu()
    assert kept(listener, instance) is None
    listener.require_working()


def test_a_release_within_a_command_keeps_nothing(listener: RunningListener) -> None:
    with listener.sender() as sender:
        sender.say(p_data([(1, True, False, usual(new_instance())[:20])]))
        ask_to_release(sender)
        with suppress(Closed):
            sender.read_pdu()
    wait_until_free(listener)
    listener.require_working()


def test_an_instance_behind_a_release_is_not_taken_and_the_one_before_is_kept(
    listener: RunningListener,
) -> None:
    before, behind = new_instance(), new_instance()
    with listener.sender() as sender:
        send(sender, before)
        assert answer(sender) == 0
        ask_to_release(sender)
        send(sender, behind)
        with suppress(Closed):
            kind, _ = sender.read_pdu()
            assert kind == RELEASE_RP
            assert sender.is_closed_upon()
    assert kept(listener, before) == before.data_set
    assert kept(listener, behind) is None
    listener.require_working()


@pytest.mark.parametrize("how", ["abort", "close", "reset"])
def test_an_end_between_the_last_fragment_and_the_response_keeps_the_whole_or_nothing(
    listener: RunningListener, how: str
) -> None:
    instance = new_instance()
    with listener.sender() as sender:
        send(sender, instance)
        if how == "abort":
            sender.say(pdu(ABORT, bytes(4)))
        elif how == "reset":
            sender.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert kept(listener, instance) in {None, instance.data_set}
    with listener.sender() as sender:  # as the sender does that got no response
        send(sender, instance)
        assert answer(sender) == 0
        sender.release()
    assert kept(listener, instance) == instance.data_set
    assert len(listener.stores.jobs_of(instance.uid)) == 1


UNEXPECTED: Final = {
    "a release that nobody asked for": pdu(RELEASE_RP, bytes(4)),
    "a second request for an association": associate_rq(CR_EXPLICIT, calling="A", called="B"),
    "an acceptance": pdu(2, bytes(68)),
    "a rejection": pdu(3, bytes(4)),
}


@pytest.mark.parametrize("name", UNEXPECTED)
def test_a_pdu_that_does_not_fit_ends_the_association_and_keeps_what_was_taken(
    listener: RunningListener, name: str
) -> None:
    taken, half = new_instance(), new_instance()
    with listener.sender() as sender:
        send(sender, taken)
        assert answer(sender) == 0
        sender.send_fragments(1, usual(half), is_command=True)
        sender.send_fragments(1, half.data_set[:500], is_command=False, is_whole=False)
        sender.say(UNEXPECTED[name])
        assert sender.is_closed_upon()
    assert kept(listener, taken) == taken.data_set
    assert kept(listener, half) is None
    listener.require_working()


def test_a_second_release_is_answered_once(listener: RunningListener) -> None:
    with listener.sender() as sender:
        sender.say(pdu(RELEASE_RQ, bytes(4)) * 2)
        kind, _ = sender.read_pdu()
        assert kind == RELEASE_RP
        assert sender.is_closed_upon()
    wait_until_free(listener)
    listener.require_working()


def test_responses_come_in_the_order_of_pipelined_requests(listener: RunningListener) -> None:
    instances = [new_instance() for _ in range(3)]
    with listener.sender() as sender:
        for each in instances:
            send(sender, each)
        assert [answer(sender) for _ in instances] == [0, 0, 0]
        sender.release()
    for each in instances:
        assert kept(listener, each) == each.data_set


def refusals() -> dict[str, float]:
    """Return the number of refused associations by reason."""
    (family,) = ASSOCIATION_REFUSALS.collect()
    return {
        each.labels["reason"]: each.value for each in family.samples if each.name.endswith("_total")
    }


def test_refused_associations_are_counted_by_reason(listener: RunningListener) -> None:
    before = refusals()
    with pytest.raises(Rejected):
        listener.sender(calling=" ")
    with listener.sender() as sender:
        sender.say(pdu(9, bytes(4)))
        assert sender.is_closed_upon()
    wait_until_free(listener)
    counted = {name: value - before[name] for name, value in refusals().items()}
    assert {name: value for name, value in counted.items() if value} == {
        "calling-ae-title-blank": 1,
        "protocol-error": 1,
    }
