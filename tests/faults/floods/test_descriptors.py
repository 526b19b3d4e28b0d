"""A listener that runs out of file descriptors goes on, and serves again when there are some."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from support.floods import OTHERS, flooding
from support.listener_process import ListenerProcess
from support.lobar_process import wait_for
from support.system.programs import need_program

pytestmark = pytest.mark.dcmtk

Start = Callable[..., ListenerProcess]


def limited(soft: int, hard: int) -> list[str]:
    return [str(need_program("prlimit")), f"--nofile={soft}:{hard}"]


def test_the_limit_is_raised_as_far_as_the_connections_need(
    start_listener: Start, gets_in: Callable[[ListenerProcess], None]
) -> None:
    listener = start_listener(prefix=limited(64, 4096), maximum_connections=600)
    with flooding(listener.port, 500, sources=OTHERS):
        wait_for(lambda: listener.waiting() == 500)
        gets_in(listener)
    assert "descriptors" not in listener.log.read_text()


def test_a_listener_without_descriptors_says_so_once_and_goes_on(
    start_listener: Start, gets_in: Callable[[ListenerProcess], None]
) -> None:
    listener = start_listener(maximum_connections=1000, negotiation_seconds=60)
    open_now = len(list(Path(f"/proc/{listener.pid}/fd").iterdir()))
    resource.prlimit(listener.pid, resource.RLIMIT_NOFILE, (open_now + 50, open_now + 50))
    with flooding(listener.port, 200, sources=OTHERS):
        wait_for(lambda: listener.refusals("connection-limit-exceeded") > 100)
    wait_for(lambda: listener.waiting() == 0)
    gets_in(listener)
    assert listener.log.read_text().count('"descriptors_exhausted"') == 1


def test_a_machine_with_few_descriptors_lets_fewer_connections_wait(start_listener: Start) -> None:
    listener = start_listener(prefix=limited(64, 700), maximum_connections=1000)
    assert '"maximum_connections": 100' in listener.log.read_text()
    with flooding(listener.port, 300, sources=OTHERS) as flood:
        wait_for(lambda: flood.closed > 200)
        assert listener.waiting() <= 100
