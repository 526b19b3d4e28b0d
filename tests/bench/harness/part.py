"""A part of the benchmark as a command: it measures in rounds, prints a table and writes JSON."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from bench.harness.figures import Figure, PartResult, write_json
from bench.harness.tables import markdown

COMMAND: Final = "PYTHONPATH=tests:monai_bundle .venv/bin/python -m"


@dataclass(slots=True)
class Measurement:
    """Where a part puts its samples, and how long it may take.

    Rounds are the outermost loop of a part: in each, every subject is measured once, in turns, so
    that other load of the machine meets all of them.
    """

    quick: bool
    seconds: float
    _began: float = field(default_factory=time.monotonic)
    _samples: dict[tuple[str, str, str], list[float]] = field(default_factory=dict)
    _left_out: list[str] = field(default_factory=list)

    def rounds(self, most: int) -> Iterator[int]:
        """Yield the number of each round: one, and others that will probably end in time."""
        until, first = self._began + self.seconds, time.monotonic()
        for number in range(most):
            now = time.monotonic()
            if number and now + (now - first) / number > until:
                self.leave_out(f"{most - number} of {most} rounds, for lack of time")
                return
            yield number

    def add(self, table: str, case: str, subject: str, *samples: float) -> None:
        """Add samples to a figure."""
        self._samples.setdefault((table, case, subject), []).extend(samples)

    def leave_out(self, what: str) -> None:
        """Say what is not measured, and why."""
        if what not in self._left_out:
            print(f"left out: {what}", file=sys.stderr, flush=True)
            self._left_out.append(what)

    def result(self, part: "Part") -> PartResult:
        """Return what was measured."""
        return PartResult(
            name=part.name,
            title=part.title,
            text=part.text,
            command=f"{COMMAND} {part.module}{' --quick' if self.quick else ''}",
            ours=part.ours,
            seconds=round(time.monotonic() - self._began, 1),
            figures=tuple(
                Figure(table=table, case=case, subject=subject, samples=_rounded(samples))
                for (table, case, subject), samples in self._samples.items()
            ),
            left_out=tuple(self._left_out),
        )


class TimeIsUp(BaseException):
    """The run asks its part to end; no part may take this for a fault of what it measures."""


def _end(*_: object) -> None:
    raise TimeIsUp


@contextmanager
def _errors_alone() -> Iterator[None]:
    """Log nothing but errors while the block runs."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)


def _rounded(samples: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{each:.5g}") for each in samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the benchmark: its words, its time, and how it measures."""

    name: str
    title: str
    text: str
    ours: str = ""
    seconds: float  # after which no further round begins
    quick_seconds: float
    measure: Callable[[Measurement], None]
    module: str

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Measure, print the tables, and write the result where `--output` says."""
        parser = argparse.ArgumentParser(prog=self.module, description=self.text)
        parser.add_argument("--quick", action="store_true", help="fewer cases, seconds instead")
        parser.add_argument("--output", type=Path, help="write the figures as JSON here too")
        options = parser.parse_args(arguments)
        seconds = self.quick_seconds if options.quick else self.seconds
        measurement = Measurement(options.quick, seconds)
        signal.signal(signal.SIGTERM, _end)
        with _errors_alone():
            try:
                self.measure(measurement)
            except TimeIsUp:
                measurement.leave_out("what follows the last figure, for lack of time")
        result = measurement.result(self)
        print(markdown(result))
        if options.output:
            write_json(options.output, result)
