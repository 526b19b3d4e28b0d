"""Format figures as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

UNKNOWN: Final = "not measured"
NOTHING: Final = "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def cell(figure: Mapping[str, Any] | None, *, digits: int = 3, signed: bool = False) -> str:
    """Format a figure with its interval, as "0.981 (0.971 to 0.989)"."""
    if figure is None or figure["value"] is None:
        return NOTHING
    value, low, high = (
        number(each, digits=digits, signed=signed) for each in (figure["value"], *figure["ci95"])
    )
    return f"{value} ({low} to {high})"


def area(figure: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """Format an area under a curve with four decimals, so that 0.9996 does not become 1.000."""
    return cell(figure, digits=4, signed=signed)


def number(value: float | None, *, digits: int = 3, signed: bool = False) -> str:
    """Format a number with so many decimals."""
    if value is None:
        return NOTHING
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def p_value(p: float | None) -> str:
    """Format a p value as "0.012" or "<= 0.001", the resolution of two thousand draws."""
    least = 0.001
    return NOTHING if p is None else "<= 0.001" if p <= least else f"{p:.3f}"


def yes_or_no(reached: bool | None) -> str:  # noqa: FBT001 -- the only argument is the answer
    """Format an answer; None was not measured."""
    return UNKNOWN if reached is None else "yes" if reached else "no"


def counts(found: Mapping[str, Any]) -> str:
    """Format the numbers of images, of images with pneumonia, and of patients."""
    return f"{found['images']:,} ({found['pneumonia']:,}), {found['patients']:,}"
