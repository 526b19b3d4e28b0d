"""docs/performance.md, written from the figures of one run."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Final

from bench.harness.aims import table_of_aims
from bench.harness.figures import PartResult, Results
from bench.harness.tables import markdown, rounds_of

_WIDTH: Final = 140
_KEPT: Final = "\0"  # stands for a blank at which no line ends
_INTRODUCTION: Final = (
    "This page is written by the benchmark from the figures beside it, performance.json; do not "
    "edit it. `make bench` measures them anew in a quarter of an hour, `make bench-quick` a "
    "selection in two minutes. Every receiver, engine or way in a table was measured in turns in "
    "one run, so read ratios: another machine, or other load, changes them less than the figures. "
    "A cell is the median of the rounds, with the least and the largest in brackets. A ratio is "
    "the median over the rounds of one subject over another in the same round. All images are "
    "synthetic. No test asserts a time. How it is built: [developing](developing.md#the-benchmark)."
)


def page_of(results: Results) -> str:
    """Return the page."""
    return "\n\n".join(_blocks(results)) + "\n"


def is_busy(machine: Mapping[str, str]) -> bool:
    """Whether more than a quarter of the cores was busy before the benchmark began."""
    return float(machine.get("load before", 0)) > float(machine.get("cores", 1)) / 4


def _blocks(results: Results) -> Iterator[str]:
    yield "# Performance"
    yield _filled(_INTRODUCTION)
    yield "## The machine"
    rows = [f"| {name} | {value} |" for name, value in results.machine.items()]
    yield "\n".join(["| | |", "|---|---|", *rows])
    if is_busy(results.machine):
        yield (
            "**Other programs ran at the same time.** Of this run only processor times and ratios "
            "mean something, and those of one round little."
        )
    yield "## The aims"
    yield _filled(
        "What the project aims at on two cores, and what this run measured; of several counts of "
        f"processes the best. All of it is from `{results.command}`; the command of each figure "
        "stands above its table."
    )
    yield table_of_aims(results.parts)
    for part in results.parts:
        yield from _part(part)


def _part(part: PartResult) -> Iterator[str]:
    yield f"## {part.title}"
    yield f"<!-- run: dry -->\n```sh\n{part.command}\n```"
    if part.figures:
        yield _filled(f"{part.text} Rounds: {rounds_of(part)}; {part.seconds:.0f} s.")
    yield markdown(part)


def _filled(text: str) -> str:
    """Wrap lines, but not within code."""
    kept = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", _KEPT), text)
    lines = textwrap.fill(kept, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return lines.replace(_KEPT, " ")
