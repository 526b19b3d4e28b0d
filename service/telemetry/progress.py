"""The progress of a process' work, held against the time that its steps may take."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

LONGEST_STEP_SECONDS: Final = 5.0


class AwakeClock:
    """Seconds during which this process ran, as seen by one thread that reads them regularly.

    A process that was suspended or frozen for an hour finds an hour gone at its next statement,
    in which nobody could make progress. Of each interval between two readings at most
    `LONGEST_STEP_SECONDS` are therefore counted.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_at = clock()
        self.now = 0.0  # seconds, as of the last reading

    def read(self) -> float:
        """Count the time since the last reading, and return the sum in seconds."""
        at = self._clock()
        self.now += min(at - self._read_at, LONGEST_STEP_SECONDS)
        self._read_at = at
        return self.now


@dataclass(slots=True)
class _Work:
    limit: float  # seconds that a step may take
    touched_at: float  # by the awake clock


@dataclass(frozen=True, slots=True)
class StuckWork:
    """Work whose present step takes longer than it may."""

    name: str
    seconds: float  # since its last progress


class Progress:
    """What a process is working on, and when each of these works last made progress.

    Without work the process is idle, which is not being stuck. One thread calls `stuck_work`
    regularly; all others may be called by any thread.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = AwakeClock(clock)
        self._works: dict[str, _Work] = {}
        self._lock = threading.Lock()

    @contextmanager
    def working(self, name: str, seconds: float) -> Iterator[None]:
        """Count as busy with `name` while the block runs; a step of it may take `seconds`."""
        with self._lock:
            self._works[name] = _Work(seconds, self._clock.now)
        try:
            yield
        finally:
            with self._lock:
                self._works.pop(name, None)

    def touch(self, name: str) -> None:
        """Record that a step of this work is done; does nothing if that work is not going on."""
        with self._lock:
            work = self._works.get(name)
            if work is not None:
                work.touched_at = self._clock.now

    def stuck_work(self) -> StuckWork | None:
        """Return the work that has been without progress for longest beyond its limit, if any."""
        with self._lock:
            now = self._clock.read()
            stuck = [
                StuckWork(name, now - work.touched_at)
                for name, work in self._works.items()
                if now - work.touched_at > work.limit
            ]
        return max(stuck, key=lambda each: each.seconds, default=None)
