"""Which connections the web server ends: slow ones, and one to make room for another."""

from dataclasses import dataclass, field

import pytest

from service.web.serving.connections import Connections, Phase
from service.web.serving.limits import Ended, Limits

LIMITS = Limits(
    connections=4,
    slow=2,
    head_seconds=10,
    body_seconds=100,
    least_bytes_per_second=1000,
    grace_seconds=10,
    unread_seconds=30,
)


@dataclass(eq=False)
class Client:
    """A stand-in for a connection, which does what the test says."""

    address: str = "192.0.2.1"
    waits_for: Phase = Phase.HEAD
    held_back: bool = False
    unsent: int = 0
    ended: list[Ended] = field(default_factory=list)

    def phase(self) -> Phase:
        return self.waits_for

    def is_held_back(self) -> bool:
        return self.held_back

    def unsent_bytes(self) -> int:
        return self.unsent

    def end(self, reason: Ended) -> None:
        self.ended.append(reason)


class Server:
    """Connections by a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.counted: list[Ended] = []
        self.connections = Connections(LIMITS, lambda: self.now, self.counted.append)

    def connected(self, **options: object) -> Client:
        client = Client(**options)  # type: ignore[arg-type]
        self.connections.admit(client)
        return client

    def sends(self, client: Client, size_bytes: int, phase: Phase) -> None:
        client.waits_for = phase
        self.connections.received(client, size_bytes)

    def passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.connections.sweep()


@pytest.fixture
def server() -> Server:
    return Server()


def test_half_a_head_is_waited_for_as_long_as_it_may_take_however_it_drips(server: Server) -> None:
    client = server.connected()
    for _ in range(10):
        server.passes(1)
        server.sends(client, 1, Phase.HEAD)
    assert client.ended == []
    server.passes(1)
    assert client.ended == [Ended.SLOW_HEAD]
    assert len(server.connections) == 0


def test_a_request_that_is_being_answered_is_not_late(server: Server) -> None:
    client = server.connected()
    server.sends(client, 100, Phase.RESPONSE)
    server.passes(1000)
    assert client.ended == []


def test_the_next_request_of_a_connection_has_its_own_time(server: Server) -> None:
    client = server.connected()
    server.passes(9)
    server.sends(client, 100, Phase.RESPONSE)
    client.waits_for = Phase.HEAD
    server.connections.answered(client)
    server.passes(9)
    assert client.ended == []


@pytest.mark.parametrize(("per_second", "seconds"), [(0, 11), (900, 11), (1001, 101)])
def test_a_body_needs_a_rate_and_has_a_total_time(
    server: Server, per_second: int, seconds: int
) -> None:
    client = server.connected()
    server.sends(client, 100, Phase.BODY)
    while not client.ended and server.now < 200:
        server.sends(client, per_second, Phase.BODY)
        server.passes(1)
    assert (server.now, client.ended) == (seconds, [Ended.SLOW_BODY])


def test_time_in_which_the_server_did_not_read_is_not_the_clients(server: Server) -> None:
    client = server.connected()
    server.sends(client, 20_000, Phase.BODY)
    client.held_back = True
    server.passes(500)
    assert client.ended == []
    client.held_back = False
    server.passes(21)
    assert client.ended == [Ended.SLOW_BODY]


def test_a_response_that_nobody_reads_is_ended(server: Server) -> None:
    client = server.connected(unsent=1 << 20, waits_for=Phase.RESPONSE)
    server.passes(30)
    assert client.ended == []
    server.passes(1)
    assert client.ended == [Ended.UNREAD]


def test_a_response_that_is_read_slowly_but_fast_enough_is_not(server: Server) -> None:
    client = server.connected(unsent=1 << 20, waits_for=Phase.RESPONSE)
    for _ in range(400):
        client.unsent -= 1001
        server.passes(1)
    assert client.ended == []


def test_a_response_that_is_refilled_as_it_is_read_is_not_unread(server: Server) -> None:
    client = server.connected(unsent=1 << 16, waits_for=Phase.RESPONSE)
    for _ in range(10):
        server.passes(10)
        server.connections.has_read(client)
    assert client.ended == []


def test_a_newcomer_takes_the_place_of_the_one_that_waits_for_longest(server: Server) -> None:
    clients = []
    for _ in range(4):
        clients.append(server.connected())
        server.passes(1)
    newcomer = server.connected()
    assert [each.ended for each in clients] == [[Ended.MADE_ROOM], [], [], []]
    assert newcomer.ended == []


def test_room_is_made_by_the_address_that_has_most(server: Server) -> None:
    other = server.connected(address="192.0.2.2")
    server.passes(1)
    many = [server.connected() for _ in range(3)]
    server.connected(address="192.0.2.3")
    assert other.ended == []
    assert [each.ended for each in many] == [[Ended.MADE_ROOM], [], []]


def test_a_request_that_is_being_answered_makes_no_room(server: Server) -> None:
    for _ in range(4):
        server.sends(server.connected(), 100, Phase.RESPONSE)
    assert server.connected().ended == [Ended.REFUSED]


def test_the_slowest_of_too_many_bodies_is_ended(server: Server) -> None:
    fast, slow, newest = (server.connected() for _ in range(3))
    server.sends(fast, 0, Phase.BODY)
    server.sends(slow, 0, Phase.BODY)
    server.passes(5)
    server.sends(fast, 100_000, Phase.BODY)
    server.sends(slow, 10, Phase.BODY)
    server.sends(newest, 5000, Phase.BODY)
    assert [each.ended for each in (fast, slow, newest)] == [[], [Ended.MADE_ROOM], []]


def test_the_oldest_of_too_many_unread_responses_is_ended(server: Server) -> None:
    clients = [server.connected(waits_for=Phase.RESPONSE) for _ in range(3)]
    for client in clients:
        server.passes(1)
        client.unsent = 1 << 16
        server.connections.must_wait(client, client.unsent)
    assert [each.ended for each in clients] == [[Ended.MADE_ROOM], [], []]


def test_what_is_ended_is_counted_and_what_is_closed_is_forgotten(server: Server) -> None:
    server.connected()
    closed = server.connected()
    server.connections.forget(closed)
    server.passes(11)
    assert (server.counted, closed.ended) == ([Ended.SLOW_HEAD], [])
