"""How often one address may try: a moving window, in the memory of the process."""

import math
import time
from typing import Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

SIGN_IN: Final = "sign-in"
OPENID: Final = "openid"  # going to an identity provider
TOKEN: Final = "token"  # noqa: S105 -- a word


class Throttle:
    """Counts attempts by address and kind."""

    def __init__(self, attempts_per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(attempts_per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    def seconds_to_wait(self, kind: str, address: str) -> int | None:
        """Return for how long an address may not try; None if it may now."""
        if self._limiter.test(self._limit, kind, address):
            return None
        return self._seconds_left(kind, address)

    def attempt(self, kind: str, address: str) -> int | None:
        """Count an attempt; return the seconds to wait if it is one too many, else None."""
        if self._limiter.hit(self._limit, kind, address):
            return None
        return self._seconds_left(kind, address)

    def _seconds_left(self, kind: str, address: str) -> int:
        until = self._limiter.get_window_stats(self._limit, kind, address).reset_time
        return max(1, math.ceil(until - time.time()))
