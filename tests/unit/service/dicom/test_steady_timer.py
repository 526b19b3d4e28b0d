"""The timers count what passes, whatever the wall clock says: it is not read."""

import time
from types import SimpleNamespace
from typing import cast

import pytest
from pynetdicom.dul import DULServiceProvider
from pynetdicom.timer import Timer

from service.dicom.steady_timer import SteadyTimer, use_steady_timers


def test_it_counts_by_the_monotonic_clock() -> None:
    timer = SteadyTimer(5)
    assert (timer.remaining, timer.expired) == (5, False)
    before = time.monotonic()
    timer.start()
    assert before <= cast("float", timer._start_time) <= time.monotonic()
    assert 0 < timer.remaining <= 5
    timer.stop()
    stopped = timer.remaining
    time.sleep(0.01)
    assert timer.remaining == stopped


@pytest.mark.parametrize("begun", [True, False])
def test_a_timer_expires_after_its_time_once_it_was_started(*, begun: bool) -> None:
    timer = SteadyTimer(0.01)
    if begun:
        timer.start()
    time.sleep(0.02)
    assert timer.expired is begun


def test_a_timer_without_a_time_never_expires() -> None:
    timer = SteadyTimer(None)
    timer.start()
    assert (timer.remaining, timer.expired) == (1, False)


def test_the_timers_of_an_upper_layer_keep_their_times_and_go_on() -> None:
    artim, idle = Timer(30), Timer(60)
    idle.start()
    layer = SimpleNamespace(artim_timer=artim, _idle_timer=idle)
    use_steady_timers(cast("DULServiceProvider", layer))
    assert isinstance(layer.artim_timer, SteadyTimer)
    assert (layer.artim_timer.timeout, layer.artim_timer.remaining) == (30, 30)
    assert layer._idle_timer.timeout == 60
    assert layer._idle_timer.remaining < 60
