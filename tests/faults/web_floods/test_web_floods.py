"""Floods of the pages: half requests, drips, silent readers; a person is answered meanwhile."""

import resource
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import httpx
import pytest
from support.flooded_server import FloodedServer
from support.lobar_process import wait_for
from support.system.http import HTTP
from support.system.ports import LOOPBACK

AGAIN: Final = 10  # new connections of a flood each fifth of a second
HALF_A_HEAD: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: "
HALF_A_BODY: Final = (
    b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: multipart/form-data; boundary=cut\r\nContent-Length: 100000\r\n\r\n"
    b"--cut\r\nContent-Disposition: form-data; name=f\r\n\r\n"
)
LARGE: Final = b"GET /static/lobar.css HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    """Let this process hold the sockets of a flood."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Flood:
    """Clients of one kind; some that are turned out connect again, at a bounded rate."""

    def __init__(self, port: int, number: int, begin: bytes, drip: bytes = b"") -> None:
        self._port, self._begin, self._drip = port, begin, drip
        self._open = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self.connected = 0
        for _ in range(number):
            self._connect()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        for key in list(self._open.get_map().values()):
            self._close(key.fileobj)
        self._open.close()

    def _connect(self) -> None:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # with the segments of loopback the server's kernel would hold megabytes for each client
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        client.settimeout(10)
        with suppress(OSError):
            client.connect((LOOPBACK, self._port))
            client.sendall(self._begin)
            self.connected += 1
        client.settimeout(0)
        self._open.register(client, selectors.EVENT_READ if self._drip else selectors.EVENT_WRITE)

    def _run(self) -> None:
        while not self._stopping.wait(0.2):
            again = AGAIN
            for key in list(self._open.get_map().values()):
                if not self._goes_on(key.fileobj):
                    self._close(key.fileobj)
                    again -= 1
                    if again >= 0:
                        self._connect()

    def _goes_on(self, client: object) -> bool:
        """Drip, and return whether the server has not ended the connection."""
        assert isinstance(client, socket.socket)
        try:
            if self._drip:
                client.send(self._drip)
            state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            return False
        return state == 1  # established

    def _close(self, client: object) -> None:
        assert isinstance(client, socket.socket)
        self._open.unregister(client)
        client.close()


@contextmanager
def flooding(
    server: FloodedServer, number: int, begin: bytes, drip: bytes = b""
) -> Iterator[Flood]:
    flood = Flood(server.port, number, begin, drip)
    try:
        yield flood
    finally:
        flood.stop()


def test_a_thousand_half_sent_requests_keep_nobody_out(server: FloodedServer) -> None:
    with flooding(server, 1000, HALF_A_HEAD) as flood:
        for _ in range(3):
            server.requires_answers()
        assert flood.connected >= 1000
        assert wait_for(lambda: server.ended("slow-head") > 0), "each head has its time"
    assert server.ended("made-room") > 0


def test_heads_that_drip_keep_nobody_out(server: FloodedServer) -> None:
    before = server.ended("slow-head")
    with flooding(server, 600, HALF_A_HEAD, drip=b"x"):
        server.requires_answers()
        wait_for(lambda: server.ended("slow-head") > before)
        server.requires_answers()


def test_bodies_that_drip_keep_nobody_out(server: FloodedServer) -> None:
    before = server.ended("made-room")
    with flooding(server, 300, HALF_A_BODY, drip=b"x"):
        server.requires_answers()
        files = {"files": ("sent", b"no image", "application/octet-stream")}
        sent = HTTP.post(f"http://{LOOPBACK}:{server.port}/api/instances", files=files)
        assert sent.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE, "it was read to its end"
        assert server.ended("made-room") > before


def test_clients_that_never_read_keep_nobody_out(server: FloodedServer) -> None:
    before = server.ended("made-room")
    with flooding(server, 100, LARGE * 100):
        server.requires_answers()
        wait_for(lambda: server.ended("made-room") > before)
        server.requires_answers()


def test_streams_of_events_take_no_place_of_a_request(server: FloodedServer) -> None:
    events = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with flooding(server, 300, events):
        server.requires_answers()
        with httpx.stream("GET", f"http://{LOOPBACK}:{server.port}/events") as answer:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert answer.headers["retry-after"] == "30"
            assert "Too many pages are open" in answer.read().decode()


@pytest.mark.parametrize(
    ("begun", "answer"),
    [(HALF_A_HEAD, b"HTTP/1.1 408 "), (b"", b""), (LARGE, b"HTTP/1.1 200 ")],
)
def test_who_is_late_is_told_so_and_who_is_idle_is_not(
    server: FloodedServer, begun: bytes, answer: bytes
) -> None:
    with socket.create_connection((LOOPBACK, server.port), timeout=30) as client:
        client.sendall(begun)
        received = b"".join(iter(lambda: client.recv(65536), b""))  # until the server ends it
    assert received[: len(answer) or None] == answer


def test_the_health_address_has_a_flood_of_its_own_survived(server: FloodedServer) -> None:
    flood = Flood(server.health_port, 300, HALF_A_HEAD)
    try:
        server.requires_answers()
    finally:
        flood.stop()


def test_a_body_that_nobody_reads_does_not_stay_open(server: FloodedServer) -> None:
    before = server.ended("made-room")
    begun = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx"
    with flooding(server, 80, begun):
        server.requires_answers()
        assert server.ended("made-room") > before
