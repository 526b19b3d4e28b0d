"""Exponential back-off with jitter."""

import random


def backoff_seconds(tries: int, *, first: float, longest: float, jitter: float = 0.25) -> float:
    """How long to wait after the n-th failure (n >= 1): doubling, bounded, spread by jitter."""
    doubled = first * 2.0 ** min(max(tries, 1) - 1, 62)
    return min(doubled, longest) * (1 + random.uniform(-jitter, jitter))
