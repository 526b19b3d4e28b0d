"""How long a fuzzer runs: so many cases in an ordinary run, or so many seconds by `make fuzz`."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SEED: Final = 20261129


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """The length of a run, and its seed."""

    seed: int
    seconds: float  # 0: an ordinary run, of so many cases

    @classmethod
    def of_environment(cls) -> "Length":
        """Read what `make fuzz` sets."""
        return cls(
            seed=int(os.environ.get("FUZZ_SEED") or SEED),  # noqa: TID251 -- of the tests' own
            seconds=float(os.environ.get("FUZZ_SECONDS") or 0),  # noqa: TID251 -- as above
        )

    def numbers(self, *, ordinary: int) -> Iterator[int]:
        """Count the cases: `ordinary` at least, and on until the seconds are over."""
        until = time.monotonic() + self.seconds
        number = 0
        while number < ordinary or time.monotonic() < until:
            number += 1
            yield number

    def replay(self, number: int) -> str:
        """Say how to see a case again."""
        return f"seed {self.seed}, number {number}"
