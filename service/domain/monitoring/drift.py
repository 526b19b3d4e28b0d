"""Compare the distribution of this week with that of the weeks before."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FEWEST_RECENT: Final = 50  # with fewer films chance alone moves the index beyond its marks
FEWEST_BEFORE: Final = 200
SOME: Final = 0.1  # the usual marks of the index: Siddiqi (2006), Credit Risk Scorecards, ch. 8
LARGE: Final = 0.25
GROUPS: Final = 10
_Z_95: Final = 1.6448536269514722  # 95th percentile of the normal distribution
_ADDED: Final = 0.5  # to each count, because the logarithm of an empty group has no value


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The population stability index of two groups of films."""

    recent: int  # films of this week
    before: int  # films of the weeks before
    index: float | None  # None where there are too few films
    limit: float | None  # what it stays below in 19 weeks of 20 when nothing changed

    @property
    def words(self) -> str:
        """The index in words."""
        if self.index is None or self.limit is None:
            return (
                f"Too few films to say: it takes {FEWEST_RECENT} in this week and {FEWEST_BEFORE} "
                "in the eight weeks before."
            )
        if self.index <= self.limit:
            return "No more change than chance explains."
        if self.index < SOME:
            return "A change, but a small one."
        return "Some change: look at it." if self.index < LARGE else "A large change: look at it."


def drift(
    recent: Sequence[int],
    before: Sequence[int],
    *,
    fewest_recent: int = FEWEST_RECENT,
    fewest_before: int = FEWEST_BEFORE,
) -> Drift:
    """Compute the population stability index of two tables of counts over the same groups.

    It is the sum of (r - b) ln(r / b) over the groups' shares r and b. Without any change it is
    distributed as (1/n + 1/m) times chi-squared with a degree of freedom less than there are
    groups: Yurdakul and Naranjo (2020), J Risk Model Validation 14(4):89.
    """
    n, m = sum(recent), sum(before)
    used = [(r, b) for r, b in zip(recent, before, strict=True) if r or b]
    if n < fewest_recent or m < fewest_before:
        return Drift(recent=n, before=m, index=None, limit=None)
    index = sum(_term(r, n, b, m, len(used)) for r, b in used)
    limit = (1 / n + 1 / m) * chi_squared_95(len(used) - 1)
    return Drift(recent=n, before=m, index=index, limit=limit)


def chi_squared_95(degrees: int) -> float:
    """Return about the 95th percentile of chi-squared; 0 without a degree of freedom.

    Wilson and Hilferty (1931), PNAS 17:684.
    """
    if not degrees:
        return 0.0
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + _Z_95 * math.sqrt(part)) ** 3)


def _term(recent: int, n: int, before: int, m: int, groups: int) -> float:
    r = (recent + _ADDED) / (n + groups * _ADDED)
    b = (before + _ADDED) / (m + groups * _ADDED)
    return (r - b) * math.log(r / b)


def equal_groups(before: Sequence[int], groups: int = GROUPS) -> list[int]:
    """Return the ends of up to `groups` runs of bins that hold about as many films each."""
    total, held = sum(before), 0
    ends: list[int] = []
    full = 0  # runs' worth of films held so far
    for end, count in enumerate(before[:-1], start=1):
        held += count
        if count and held * groups // total > full:
            full = held * groups // total
            ends.append(end)
    return [*ends, len(before)]


def grouped(counts: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Sum the bins of a histogram up to each end."""
    starts = [0, *ends[:-1]]
    return [sum(counts[start:end]) for start, end in zip(starts, ends, strict=True)]
