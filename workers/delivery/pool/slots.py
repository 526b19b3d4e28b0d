"""How many associations may be open to one destination, and when one more is tried again."""

import threading
import time
from collections.abc import Callable
from typing import Final

from service.domain.backoff import backoff_seconds

FIRST: Final = 1
_FIRST_PAUSE_SECONDS: Final = 60.0
_LONGEST_PAUSE_SECONDS: Final = 3600.0


class Slots:
    """The numbers of the associations to one destination; the first is always free.

    A destination may take fewer associations than are configured: it refuses one more, or lets it
    wait until another ends. Then none is tried beside the first for a while, longer each time.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._used: set[int] = set()
        self._failures = 0
        self._again_at = 0.0

    def take(self) -> int | None:
        """Return the number of one more association beside the first; None if there is none."""
        with self._lock:
            if self._clock() < self._again_at:
                return None
            free = (each for each in range(FIRST + 1, self._limit + 1) if each not in self._used)
            number = next(free, None)
            if number is not None:
                self._used.add(number)
            return number

    def give_back(self, number: int) -> None:
        """Let a number be used again."""
        with self._lock:
            self._used.discard(number)

    def pause(self) -> None:
        """Note that the destination did not open one more association."""
        with self._lock:
            self._failures += 1
            self._again_at = self._clock() + backoff_seconds(
                self._failures, first=_FIRST_PAUSE_SECONDS, longest=_LONGEST_PAUSE_SECONDS
            )

    def resume(self) -> None:
        """Note that the destination opened one more association."""
        with self._lock:
            self._failures = 0
