"""Free TCP ports on loopback."""

import os
import random
import socket
from collections.abc import Callable
from typing import Final

import pytest

LOOPBACK: Final = "127.0.0.1"
BELOW_EPHEMERAL: Final = range(20_000, 32_000)
_SHARES: Final = 8  # of the range: each process of tests has one, so that none takes another's port
_returned: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now and was not returned before in this process.

    The port is below the kernel's ephemeral range, so that no outgoing connection takes it while
    a server is stopped and started again on it.
    """
    for port in random.SystemRandom().sample(_own_ports(), 200):
        if port in _returned:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _returned.add(port)
        return port
    raise RuntimeError("200 ports of 127.0.0.1 were tried and none is free")


def _own_ports() -> range:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")  # noqa: TID251 -- pytest-xdist's
    process = int(worker[2:]) % _SHARES
    size = len(BELOW_EPHEMERAL) // _SHARES
    return BELOW_EPHEMERAL[process * size : (process + 1) * size]


def accepts_connections(port: int) -> bool:
    """Return whether a server accepts connections on this port of 127.0.0.1."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(name="free_port", scope="session")
def _free_port() -> Callable[[], int]:
    return free_port
