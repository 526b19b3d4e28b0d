"""A clock that the test turns."""

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds since the epoch, standing still until told to go on."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_seconds(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
