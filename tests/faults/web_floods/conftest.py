"""A web server, and after each flood the sockets that it had before."""

import time
from collections.abc import Iterator

import pytest
from support.flooded_server import FloodedServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FloodedServer]:
    server = FloodedServer(tmp_path_factory.mktemp("web"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def _at_rest(server: FloodedServer) -> Iterator[None]:
    """After each flood the number of open sockets is back."""
    yield
    deadline = time.monotonic() + 60
    while not server.is_at_rest():
        assert time.monotonic() < deadline, server.sockets()
        time.sleep(0.1)
