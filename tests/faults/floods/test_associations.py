"""Floods of associations, slow senders and peers that do not read: the others are not held up."""

import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from peers.dcmtk import dcmtk_store
from peers.raw_scu import (
    VERIFICATION,
    Rejected,
    Sender,
    associate_rq,
    command_set,
    data_set_bytes,
    p_data,
)
from pydicom.uid import ImplicitVRLittleEndian
from support.floods import OTHERS
from support.listener import CR, CR_EXPLICIT
from support.listener_process import ListenerProcess
from support.lobar_process import wait_for
from support.system.ports import LOOPBACK
from support.system.programs import need_program
from synthetic.objects import make_cr

pytestmark = pytest.mark.dcmtk

LOCAL_LIMIT = (2, 3, 2)  # PS3.8 table 9-21: transient, presentation related, local limit exceeded
ASSOCIATE_AC = 0x02  # PS3.8 9.3.3
Start = Callable[..., ListenerProcess]
GetsIn = Callable[..., None]


@pytest.fixture(scope="module")
def listener(start_listener: Start) -> ListenerProcess:
    """A listener with the default limits of associations, and short ones of time."""
    return start_listener(network_seconds=4, message_seconds=2)


@pytest.fixture
def free(listener: ListenerProcess) -> Iterator[ListenerProcess]:
    """The listener, without an association before the test and after it.

    Its threads are counted once it has received an instance, which starts some that stay.
    """
    store_one(listener)
    wait_for(lambda: listener.open_associations() == 0)
    threads = listener.threads()
    yield listener
    wait_for(lambda: listener.open_associations() == 0 and listener.threads() <= threads)
    assert listener.incoming() == []


def store_one(listener: ListenerProcess) -> None:
    dataset = make_cr(rows=8, columns=8)
    with Sender(listener.port, CR_EXPLICIT) as sender:
        assert sender.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset)) == 0
        sender.release()


def refused(port: int, calling: str = "TEST", source: str = LOOPBACK) -> tuple[int, int, int]:
    with pytest.raises(Rejected) as rejected:
        Sender(port, calling=calling, source=source)
    return rejected.value.why


def test_64_senders_at_the_same_time_are_all_served(free: ListenerProcess, tmp_path: Path) -> None:
    need_program("storescu")
    files = [tmp_path / str(number) / "instance.dcm" for number in range(64)]
    for file in files:
        file.parent.mkdir()
        make_cr(rows=64, columns=64).save_as(file, enforce_file_format=True)
    before = len(free.received())

    def store(file: Path) -> subprocess.CompletedProcess[str]:
        return dcmtk_store(free.port, free.ae_title, [file], "--aetitle", "PACS")

    with ThreadPoolExecutor(64) as pool:
        stored = list(pool.map(store, files))
    assert [each.stderr for each in stored if each.returncode] == []
    assert len(free.received()) == before + 64


@pytest.mark.parametrize("reason", ["address-limit-exceeded", "ae-title-limit-exceeded"])
def test_a_sender_gets_in_beside_one_that_has_taken_all_it_may(
    free: ListenerProcess, gets_in: GetsIn, reason: str
) -> None:
    by_address = reason == "address-limit-exceeded"
    counted = free.refusals(reason)

    def who(number: int) -> tuple[str, str]:
        if by_address:
            return f"FLOOD{number}", OTHERS[0]
        return "FLOOD", OTHERS[number % len(OTHERS)]

    with ExitStack() as senders:
        for number in range(64):
            calling, source = who(number)
            senders.enter_context(Sender(free.port, calling=calling, source=source))
        assert refused(free.port, *who(64)) == LOCAL_LIMIT
        assert free.refusals(reason) == counted + 1
        gets_in(free)


def test_beyond_the_limit_of_all_a_sender_is_rejected_and_gets_in_as_soon_as_there_is_room(
    free: ListenerProcess,
) -> None:
    counted = free.refusals("local-limit-exceeded")
    with ExitStack() as senders:
        opened = [
            senders.enter_context(
                Sender(free.port, calling=f"FLOOD{number}", source=OTHERS[number % 4])
            )
            for number in range(100)
        ]
        assert refused(free.port) == LOCAL_LIMIT
        assert free.refusals("local-limit-exceeded") == counted + 1
        opened[0].release()
        wait_for(lambda: free.open_associations() < 100)
        wait_for(lambda: is_served(free))


def is_served(listener: ListenerProcess) -> bool:
    try:
        with Sender(listener.port) as sender:
            return sender.echo() == 0
    except Rejected:
        return False


def test_a_stranger_takes_up_no_association(start_listener: Start) -> None:
    listener = start_listener(allowed_calling_ae_titles="PACS", maximum_associations=1)
    with Sender(listener.port, calling="PACS") as known:
        for _ in range(20):
            assert refused(listener.port, calling="STRANGER") == (1, 1, 3)
        assert known.echo() == 0
        known.release()
    assert listener.refusals("local-limit-exceeded") == 0
    listener.kill()


def test_a_data_set_that_drips_is_aborted_and_nothing_of_it_is_kept(
    free: ListenerProcess, gets_in: GetsIn
) -> None:
    slow, kept = free.refusals("message-time-exceeded"), len(free.received())
    with ExitStack() as senders:
        dripping = [
            senders.enter_context(Sender(free.port, CR_EXPLICIT, source=OTHERS[0]))
            for _ in range(20)
        ]
        for sender in dripping:
            sender.begin_store(CR, "2.25.1")
        gets_in(free)
        wait_for(lambda: drip(dripping) and free.refusals("message-time-exceeded") == slow + 20)
        for sender in dripping:
            assert sender.is_closed_upon()
    assert len(free.received()) == kept + 1  # of the sender that got in


def drip(senders: list[Sender]) -> bool:
    """Send a fragment of two bytes with each sender, each in a PDU of its own."""
    for sender in senders:
        sender.say(p_data([(1, False, False, b"\0\0")]))
    return True


def test_a_pdu_that_drips_is_aborted_too(free: ListenerProcess) -> None:
    slow = free.refusals("message-time-exceeded")
    dataset = make_cr(rows=64, columns=64)
    with Sender(free.port, CR_EXPLICIT) as sender:
        sender.begin_store(CR, dataset.SOPInstanceUID)
        encoded = iter(p_data([(1, False, True, data_set_bytes(dataset))]))

        def is_aborted() -> bool:
            sender.say(bytes([next(encoded)]))
            return free.refusals("message-time-exceeded") == slow + 1

        wait_for(is_aborted)
        assert sender.is_closed_upon()


def test_a_sender_that_falls_silent_in_a_pdu_is_aborted(free: ListenerProcess) -> None:
    silent = free.refusals("silent-in-message")
    with Sender(free.port, CR_EXPLICIT) as sender:
        sender.begin_store(CR, "2.25.2")
        sender.say(p_data([(1, False, False, b"\0" * 100)])[:50])
        assert sender.is_closed_upon()
    assert free.refusals("silent-in-message") == silent + 1


def test_an_association_that_says_nothing_is_aborted(free: ListenerProcess) -> None:
    with Sender(free.port) as idle:
        assert idle.is_closed_upon()


def test_a_peer_that_never_reads_is_given_up(free: ListenerProcess, gets_in: GetsIn) -> None:
    unread = free.refusals("response-not-read")
    connection = socket.socket()
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)  # filled soon
        connection.settimeout(60)
        connection.connect((LOOPBACK, free.port))
        contexts = ((VERIFICATION, str(ImplicitVRLittleEndian)),)
        connection.sendall(associate_rq(contexts, calling="DEAF", called="LOBAR"))
        assert connection.recv(1024)[0] == ASSOCIATE_AC  # before it, P-DATA is a violation
        connection.settimeout(0.2)
        echo = command_set(VERIFICATION, 0x0030, 1, has_data_set=False)
        echoes = memoryview(p_data([(1, True, True, echo)]) * 100_000)
        left = echoes

        def is_given_up() -> bool:
            nonlocal left
            # the listener does not read either while its response waits, but buffers are large
            with suppress(TimeoutError, ConnectionError):
                left = left[connection.send(left) :] or echoes
            return free.refusals("response-not-read") == unread + 1

        wait_for(is_given_up)
        gets_in(free)


def test_an_association_that_is_aborted_in_time_is_no_refusal(free: ListenerProcess) -> None:
    before = {reason: free.refusals(reason) for reason in ("protocol-error", "silent-in-message")}
    with Sender(free.port, CR_EXPLICIT) as sender:
        sender.begin_store(CR, "2.25.3")
        sender.abort()
    with Sender(free.port) as sender:
        sender.socket.shutdown(socket.SHUT_WR)
        assert sender.is_closed_upon()
    wait_for(lambda: free.open_associations() == 0)
    assert {reason: free.refusals(reason) for reason in before} == before
