"""Ports on loopback that nobody listens on."""

import random
import socket
from collections.abc import Callable
from typing import Final

import pytest

LOOPBACK: Final = "127.0.0.1"
BELOW_EPHEMERAL: Final = range(20_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """Give a port of 127.0.0.1 that is free now and that this process was not given before.

    It lies below the range the kernel takes outgoing connections' ports from, so that a server
    may be stopped and started again on the same port while others connect to each other.
    """
    for port in random.SystemRandom().sample(BELOW_EPHEMERAL, 200):
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise RuntimeError("200 ports of 127.0.0.1 were tried and none is free")


def accepts_connections(port: int) -> bool:
    """Tell whether somebody listens on this port of 127.0.0.1."""
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(name="free_port", scope="session")
def _free_port() -> Callable[[], int]:
    return free_port
