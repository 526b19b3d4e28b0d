"""A listener that runs out of file descriptors goes on, and serves again when there are some."""

from collections.abc import Callable

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
    listener = start_listener(prefix=limited(40, 40), maximum_connections=1000)
    with flooding(listener.port, 200, sources=OTHERS):
        wait_for(lambda: "descriptors_exhausted" in listener.log.read_text())
    wait_for(lambda: listener.waiting() == 0)
    gets_in(listener)
    log = listener.log.read_text()
    assert log.count("descriptors_short") == 1
    assert log.count("descriptors_exhausted") < 5
