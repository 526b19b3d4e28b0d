"""A clock that the test sets."""

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds since the epoch, constant until the test advances it."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds
