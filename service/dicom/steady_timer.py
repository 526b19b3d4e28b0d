"""pynetdicom's timers, by a clock that nobody sets.

They count by the wall clock: set forward, it would end associations in the middle of a message; set
back, it would keep silent ones for as long.
"""

import time

from pynetdicom.dul import DULServiceProvider
from pynetdicom.timer import Timer


class SteadyTimer(Timer):
    """A timer that counts the time that passes."""

    @property
    def remaining(self) -> float:
        """Return the seconds until it expires; 1 if it never does."""
        if self.timeout is None:
            return 1
        if self._start_time is None:
            return self.timeout
        until = time.monotonic() if self._end_time is None else self._end_time
        return self.timeout - (until - self._start_time)

    def start(self) -> None:
        """Start anew."""
        self._start_time, self._end_time = time.monotonic(), None

    def stop(self) -> None:
        """Stop."""
        self._end_time = time.monotonic()


def use_steady_timers(layer: DULServiceProvider) -> None:
    """Replace the timers of an upper layer; those that run start anew."""
    for name in ("artim_timer", "_idle_timer"):
        replaced: Timer = getattr(layer, name)
        timer = SteadyTimer(replaced.timeout)
        if replaced._start_time is not None and replaced._end_time is None:  # noqa: SLF001
            timer.start()
        setattr(layer, name, timer)
