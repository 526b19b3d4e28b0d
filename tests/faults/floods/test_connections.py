"""Floods of connections without an association: a sender gets in at the first try all the same."""

import socket
import struct
import time
from collections.abc import Callable

import pytest
from peers.raw_scu import ASSOCIATE_RQ, P_DATA, VERIFICATION, associate_rq, pdu
from pydicom.uid import ImplicitVRLittleEndian
from support.floods import OTHERS, flooding
from support.listener_process import ListenerProcess
from support.lobar_process import wait_for
from support.system.ports import LOOPBACK

pytestmark = pytest.mark.dcmtk

REQUEST = associate_rq(((VERIFICATION, str(ImplicitVRLittleEndian)),), calling="X", called="LOBAR")
GARBAGE = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: lobar\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "4 GiB": struct.pack(">BxL", ASSOCIATE_RQ, 0xFFFFFFFF) + b"\0" * 1000,
    "an empty request": pdu(ASSOCIATE_RQ, b""),
    "data first": pdu(P_DATA, b"\0" * 100),
}
Start = Callable[..., ListenerProcess]
GetsIn = Callable[..., None]


@pytest.fixture(scope="module")
def listener(start_listener: Start) -> ListenerProcess:
    """A listener that closes a connection without a request after two seconds."""
    return start_listener(negotiation_seconds=2)


def wait_until_free(listener: ListenerProcess) -> None:
    """Wait until no connection is left but the listening one and those of the process itself."""
    wait_for(lambda: listener.waiting() == 0 and listener.open_associations() == 0)


def test_a_sender_gets_in_beside_a_thousand_idle_connections(
    listener: ListenerProcess, gets_in: GetsIn
) -> None:
    gets_in(listener)
    wait_until_free(listener)
    threads, sockets = listener.threads(), listener.sockets()
    late = listener.refusals("no-request-in-time")
    with flooding(listener.port, 1000, sources=(*OTHERS, LOOPBACK)):
        wait_for(lambda: listener.waiting() > 500)
        for _ in range(3):
            gets_in(listener)
        assert listener.threads() <= threads + 4  # of an association that just ends, perhaps two
        wait_for(lambda: listener.refusals("no-request-in-time") > late + 100)
    wait_until_free(listener)
    wait_for(lambda: listener.threads() <= threads and listener.sockets() <= sockets)


@pytest.mark.parametrize("sources", [OTHERS, (LOOPBACK,)], ids=["other addresses", "its own"])
def test_a_sender_gets_in_when_there_are_more_connections_than_may_wait(
    start_listener: Start, gets_in: GetsIn, sources: tuple[str, ...]
) -> None:
    listener = start_listener(negotiation_seconds=60, maximum_connections=50)
    tries = 10 if LOOPBACK in sources else 1  # those of its own address may close it, too
    with flooding(listener.port, 300, sources=sources) as flood:
        for _ in range(3):
            gets_in(listener, tries=tries)
        wait_for(lambda: flood.closed > 250)
    assert listener.refusals("connection-limit-exceeded") > 250
    assert "no-request-in-time" not in listener.log.read_text()
    listener.kill()


def test_an_address_cannot_close_the_connections_of_another(start_listener: Start) -> None:
    listener = start_listener(negotiation_seconds=60, maximum_connections=20)
    slow = socket.create_connection(
        (LOOPBACK, listener.port), timeout=60, source_address=(LOOPBACK, 0)
    )
    with slow:
        slow.sendall(REQUEST[:100])
        wait_for(lambda: listener.waiting() > 0)
        with flooding(listener.port, 100, sources=OTHERS[:1]) as flood:
            wait_for(lambda: flood.closed > 200)
            slow.sendall(REQUEST[100:])
            assert slow.recv(1) == b"\x02"  # A-ASSOCIATE-AC
    listener.kill()


@pytest.mark.parametrize("said", [REQUEST[:1], REQUEST[:-1]], ids=["one byte", "all but one byte"])
def test_half_requests_are_closed_in_time_and_nobody_else_waits(
    listener: ListenerProcess, gets_in: GetsIn, said: bytes
) -> None:
    late = listener.refusals("no-request-in-time")
    with flooding(listener.port, 200, says=said):
        gets_in(listener)
        wait_for(lambda: listener.refusals("no-request-in-time") >= late + 200)
    wait_until_free(listener)


def test_a_request_that_drips_has_no_more_time_than_another(
    listener: ListenerProcess, gets_in: GetsIn
) -> None:
    late = listener.refusals("no-request-in-time")
    with flooding(listener.port, 200, drips=REQUEST):
        gets_in(listener)
        wait_for(lambda: listener.refusals("no-request-in-time") >= late + 200)
    wait_until_free(listener)


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_sender_gets_in_beside_connections_that_send_garbage(
    listener: ListenerProcess, gets_in: GetsIn, said: bytes
) -> None:
    threads = listener.threads()
    with flooding(listener.port, 100, says=said) as flood:
        gets_in(listener)
        wait_for(lambda: flood.closed > 200)
    wait_until_free(listener)
    wait_for(lambda: listener.threads() <= threads)
    assert "Traceback" not in listener.log.read_text()


def test_a_flood_does_not_flood_the_log(listener: ListenerProcess) -> None:
    began, before = time.monotonic(), len(logged(listener))
    refused = listener.refusals("protocol-error")
    with flooding(listener.port, 200, says=GARBAGE["HTTP"]):
        wait_for(lambda: listener.refusals("protocol-error") > refused + 2000)
    periods = 2 + (time.monotonic() - began) / 10
    assert 0 < len(logged(listener)) <= before + periods * 100


def logged(listener: ListenerProcess) -> list[str]:
    lines = listener.log.read_text().splitlines()
    return [line for line in lines if '"protocol-error"' in line]
