"""Figures as Markdown: a table, a cell with its interval, yes or no."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

UNKNOWN: Final = "not measured"
NOTHING: Final = "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def cell(figure: Mapping[str, Any] | None, *, digits: int = 3, signed: bool = False) -> str:
    """Give a figure as "0.981 (0.971 to 0.989)"."""
    if figure is None or figure["value"] is None:
        return NOTHING
    value, low, high = (
        number(each, digits=digits, signed=signed) for each in (figure["value"], *figure["ci95"])
    )
    return f"{value} ({low} to {high})"


def area(figure: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """Give an area under a curve, with a digit more: 0.9996 is not to read 1.000."""
    return cell(figure, digits=4, signed=signed)


def number(value: float | None, *, digits: int = 3, signed: bool = False) -> str:
    """Give a number with so many decimals."""
    if value is None:
        return NOTHING
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def likelihood(p: float | None) -> str:
    """Give a p value as "0.012" or "<= 0.001"; two thousand draws tell no more."""
    least = 0.001
    return NOTHING if p is None else "<= 0.001" if p <= least else f"{p:.3f}"


def answer(reached: bool | None) -> str:  # noqa: FBT001 -- the answer is what is asked for
    """Give yes, no, or that it was not measured."""
    return UNKNOWN if reached is None else "yes" if reached else "no"


def counts(found: Mapping[str, Any]) -> str:
    """Give how many images, with pneumonia, and patients."""
    return f"{found['images']:,} ({found['pneumonia']:,}), {found['patients']:,}"
