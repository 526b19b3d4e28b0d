"""A share of a count, with its confidence interval."""

import math
from dataclasses import dataclass
from typing import Final

_Z: Final = 1.959963984540054  # 97.5th percentile of the normal distribution: 95 % two-sided


@dataclass(frozen=True, slots=True)
class Proportion:
    """So many of so many."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """The share; None of nothing."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of Wilson's score; None of nothing.

        Wilson (1927), J Am Stat Assoc 22:209; method 3 of Newcombe (1998), Stat Med 17:857. It
        stays within 0 and 1 and holds for small counts.
        """
        if not self.of:
            return None
        n, p, z2 = self.of, self.count / self.of, _Z * _Z
        centre = p + z2 / (2 * n)
        half = _Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        scale = 1 + z2 / n
        return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def expected_band(base: float, of: int) -> tuple[float, float]:
    """Return where 95 % of the shares of `of` films lie if the rate is `base`.

    These are the limits of a p chart (Shewhart), with 1.96 standard errors instead of 3.
    """
    half = _Z * math.sqrt(base * (1 - base) / of)
    return max(0.0, base - half), min(1.0, base + half)
