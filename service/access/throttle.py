"""How often one address may try: a moving window, in the memory of the process."""

import math
import time
from collections.abc import Callable
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

SIGN_IN: Final = "sign-in"
OPENID: Final = "openid"  # going to an identity provider
_JUMP_SECONDS: Final = 2.0
TOKEN: Final = "token"  # noqa: S105 -- a word


class Throttle:
    """Counts attempts by address and kind."""

    def __init__(
        self, attempts_per_minute: int, wall_at_boot: Callable[[], float] | None = None
    ) -> None:
        """Begin to count.

        Args:
            attempts_per_minute: Of one address and kind.
            wall_at_boot: What the wall clock would have said at the boot: another value if it
                was set.
        """
        self._limit = RateLimitItemPerMinute(attempts_per_minute)
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)
        self._wall_at_boot = wall_at_boot or _wall_at_boot
        self._boot_at = self._wall_at_boot()

    def seconds_to_wait(self, kind: str, address: str) -> int | None:
        """Return for how long an address may not try; None if it may now."""
        self._start_over_if_clock_was_set()
        if self._limiter.test(self._limit, kind, address):
            return None
        return self._seconds_left(kind, address)

    def attempt(self, kind: str, address: str) -> int | None:
        """Count an attempt; return the seconds to wait if it is one too many, else None."""
        self._start_over_if_clock_was_set()
        if self._limiter.hit(self._limit, kind, address):
            return None
        return self._seconds_left(kind, address)

    def _start_over_if_clock_was_set(self) -> None:
        """Forget the attempts when the wall clock, by which they are counted, was set.

        Else an address that tried shortly before it was set back would have to wait for as long.
        """
        boot_at = self._wall_at_boot()
        if abs(boot_at - self._boot_at) >= _JUMP_SECONDS:
            self._storage.reset()
            self._boot_at = boot_at

    def _seconds_left(self, kind: str, address: str) -> int:
        until = self._limiter.get_window_stats(self._limit, kind, address).reset_time
        return max(1, math.ceil(until - time.time()))


def _wall_at_boot() -> float:
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
