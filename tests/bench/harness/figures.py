"""What a benchmark measured, as data: figures, their part, and one run of all parts."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

FORMAT: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of one subject in one case: a sample of each round."""

    table: str  # what is counted, such as "Images a second"
    case: str  # a row of the table
    subject: str  # a column: Lobar, or a peer that is measured in turns with it
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the largest sample."""
        return min(self.samples), max(self.samples)


def ratio(ours: Figure, other: Figure) -> float | None:
    """Return the median of our samples over those of the same rounds of another subject.

    Rounds that one of the two lacks do not count; None without a common round, or over zero.
    """
    pairs = [(a, b) for a, b in zip(ours.samples, other.samples, strict=False) if b]
    return statistics.median(a / b for a, b in pairs) if pairs else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartResult:
    """What one part of the benchmark found, and the command that repeats it."""

    name: str
    title: str
    text: str  # what is measured, and how
    command: str
    ours: str  # the subject that the others are compared with; empty: none is
    seconds: float  # that the part took
    figures: tuple[Figure, ...]
    left_out: tuple[str, ...]  # what was not measured, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run of the benchmark on one machine."""

    machine: Mapping[str, str]
    command: str
    parts: tuple[PartResult, ...]
    format: int = FORMAT


def part_of(values: Mapping[str, Any]) -> PartResult:
    """Build the result of a part from what `asdict` made of it."""
    figures = tuple(
        Figure(**{**each, "samples": tuple(each["samples"])}) for each in values["figures"]
    )
    return PartResult(**{**values, "figures": figures, "left_out": tuple(values["left_out"])})


def write_json(path: Path, result: Results | PartResult) -> None:
    """Write results as a file."""
    path.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n")


def read_results(path: Path) -> Results:
    """Read the results of a run from a file.

    Raises:
        ValueError: it is no file of this format.
    """
    values = json.loads(path.read_text())
    if values.get("format") != FORMAT:
        raise ValueError(f"{path} has no results of format {FORMAT}")
    return Results(**{**values, "parts": tuple(part_of(each) for each in values["parts"])})


def read_part(path: Path) -> PartResult:
    """Read the result of one part from a file."""
    return part_of(json.loads(path.read_text()))


def in_order(values: Sequence[str]) -> list[str]:
    """Return each value once, in the order in which they first occur."""
    return list(dict.fromkeys(values))
