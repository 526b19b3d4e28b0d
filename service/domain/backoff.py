"""Exponential back-off with jitter."""

import random


def backoff_seconds(tries: int, *, first: float, longest: float, jitter: float = 0.25) -> float:
    """Return the pause after a number of consecutive failures.

    Args:
        tries: Number of failures (n >= 1).
        first: Seconds after the first failure; doubled for each further one.
        longest: Upper bound of the pause, in seconds, before jitter.
        jitter: Share by which the pause is lengthened or shortened at random.
    """
    doubled = first * 2.0 ** min(max(tries, 1) - 1, 62)
    return min(doubled, longest) * (1 + random.uniform(-jitter, jitter))
