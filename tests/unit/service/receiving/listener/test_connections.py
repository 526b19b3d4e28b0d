"""Which connection makes room, which association is refused, and which message is too slow."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from support.system.clock import Clock

from service.dicom.steady_timer import SteadyTimer
from service.receiving.listener.connections.descriptors import (
    FEWEST_CONNECTIONS,
    connections_that_fit,
    needed_descriptors,
)
from service.receiving.listener.connections.limits import AssociationLimits, Requestor
from service.receiving.listener.connections.pending import PendingConnection, network_of
from service.receiving.listener.connections.time_limits import (
    GRACE_SECONDS,
    MessagePace,
    TimeLimits,
)
from service.receiving.listener.connections.waiting import WaitingConnections
from service.receiving.listener.refusals import Aborted, Refused, SparingLog, StalledError
from service.settings import DicomSettings

LIMITS = TimeLimits(artim_seconds=1, silence_seconds=1, message_seconds=100, bytes_per_second=1000)


@pytest.fixture
def connections() -> Iterator[list[tuple[PendingConnection, socket.socket]]]:
    """Ten connections with their peers: eight of one address, then two of another."""
    with ExitStack() as stack:
        made = []
        for number in range(10):
            ours, peers = (stack.enter_context(each) for each in socket.socketpair())
            host = "192.0.2.1" if number < 8 else "192.0.2.2"
            made.append((PendingConnection(ours, (host, number), until=float(number)), peers))
        yield made


def waiting_for(
    connections: list[tuple[PendingConnection, socket.socket]], **bounds: int
) -> WaitingConnections:
    waiting = WaitingConnections(**{"most": 5, **bounds})
    for connection, _ in connections:
        waiting.add(connection)
    return waiting


def closed_for_room(waiting: WaitingConnections) -> list[int]:
    closed = []
    while (connection := waiting.to_make_room()) is not None:
        closed.append(connection.address[1])
        waiting.remove(connection)
    return closed


def test_the_oldest_of_the_address_with_the_most_makes_room(
    connections: list[tuple[PendingConnection, socket.socket]],
) -> None:
    waiting = waiting_for(connections)
    assert closed_for_room(waiting) == [0, 1, 2, 3, 4]
    assert sorted(each.address[1] for each in waiting) == [5, 6, 7, 8, 9]
    assert len(waiting) == 5


def test_one_that_has_its_last_pdu_makes_room_first(
    connections: list[tuple[PendingConnection, socket.socket]],
) -> None:
    waiting = waiting_for(connections)
    waiting.begin_to_end(connections[9][0])
    assert len(waiting) == 10
    assert closed_for_room(waiting)[0] == 9


def test_connections_expire_by_their_own_time(
    connections: list[tuple[PendingConnection, socket.socket]],
) -> None:
    waiting = waiting_for(connections)
    assert [each.address[1] for each in waiting.expired(2.5)] == [0, 1, 2]


def test_the_largest_unfinished_request_makes_room_for_memory(
    connections: list[tuple[PendingConnection, socket.socket]],
) -> None:
    waiting = waiting_for(connections, most_bytes=1000)
    head = b"\1\0\0\0\x10\0"
    for (connection, peer), length in zip(connections, range(100, 200, 10), strict=True):
        peer.sendall(head + b"\0" * length)
        assert connection.receive() is None
    largest = waiting.too_many_bytes()
    assert largest is connections[9][0]
    for connection, _ in connections[4:]:
        waiting.remove(connection)
    assert waiting.too_many_bytes() is None


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_addresses_of_ipv6_count_by_network(host: str, network: str) -> None:
    assert network_of(host) == network


def test_associations_are_limited_by_title_by_address_and_in_all() -> None:
    limits = AssociationLimits(
        DicomSettings(
            maximum_associations=4,
            maximum_associations_per_ae=2,
            maximum_associations_per_address=3,
        )
    )

    def take(title: str, network: str) -> Refused | None:
        return limits.take(Requestor(ae_title=title, network=network))

    assert [take("A", "1"), take("A", "2")] == [None, None]
    assert take("A", "3") is Refused.AE_TITLE_LIMIT
    assert [take("B", "1"), take("C", "1")] == [None, None]
    assert take("D", "1") is Refused.ADDRESS_LIMIT
    assert take("D", "4") is Refused.LIMIT
    limits.give_back(Requestor(ae_title="A", network="1"))
    assert take("D", "4") is None
    assert take("D", "4") is Refused.LIMIT


def test_a_message_is_too_slow_only_after_a_grace_and_by_its_rate() -> None:
    pace = MessagePace(LIMITS)
    pace.begin()
    pace.add(GRACE_SECONDS, 0)
    pace.add(1, 1000)
    with pytest.raises(StalledError) as stalled:
        pace.add(1, 999)
    assert stalled.value.reason is Aborted.TOO_SLOW
    pace.begin()
    pace.add(GRACE_SECONDS, 0)


def test_a_message_has_a_time_in_all_however_fast_it_comes() -> None:
    pace = MessagePace(LIMITS)
    pace.begin()
    pace.add(100, 1 << 30)
    with pytest.raises(StalledError) as stalled:
        pace.add(0.1, 1 << 20)
    assert stalled.value.reason is Aborted.MESSAGE_SECONDS


def test_timers_do_not_follow_the_time_of_day() -> None:
    timer = SteadyTimer(1000)
    assert timer.remaining == 1000
    timer.start()
    assert timer._start_time == pytest.approx(time.monotonic(), abs=100)
    assert 900 < timer.remaining <= 1000
    assert not timer.expired
    timer.timeout = 0
    time.sleep(0.01)
    assert timer.expired
    timer.timeout = None
    assert not timer.expired


def test_of_a_reason_so_many_events_are_logged_and_the_next_says_how_many_were_not() -> None:
    clock = Clock()
    log = SparingLog(most=2, seconds=10, clock=clock)
    assert [log.left_out("a") for _ in range(5)] == [0, 0, None, None, None]
    assert log.left_out("b") == 0
    clock.pass_seconds(10)
    assert log.left_out("a") == 3
    assert log.left_out("a") == 0


def test_fewer_connections_wait_where_descriptors_are_few() -> None:
    dicom = DicomSettings(maximum_connections=1000)
    needed = needed_descriptors(dicom)
    assert connections_that_fit(dicom, needed) == 1000
    assert connections_that_fit(dicom, needed - 300) == 700
    assert connections_that_fit(dicom, 50) == FEWEST_CONNECTIONS
