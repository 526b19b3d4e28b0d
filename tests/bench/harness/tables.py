"""The tables of a part's figures: medians, spread and ratios."""

import statistics
from collections.abc import Iterator

from bench.harness.figures import Figure, PartResult, in_order, ratio


def number(value: float) -> str:
    """Return a number with three digits that count, and all those before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def cell(figure: Figure) -> str:
    """Return the median and, of several samples, the least and the largest."""
    if len(figure.samples) == 1:
        return number(figure.median)
    low, high = figure.spread
    return f"{number(figure.median)} ({number(low)} to {number(high)})"


def markdown(part: PartResult) -> str:
    """Return the tables of a part, and what it left out."""
    blocks = [
        "\n".join(_table(part, name)) for name in in_order([each.table for each in part.figures])
    ]
    blocks += [f"Left out: {each}." for each in part.left_out]
    return "\n\n".join(blocks)


def _table(part: PartResult, name: str) -> Iterator[str]:
    figures = [each for each in part.figures if each.table == name]
    subjects = in_order([each.subject for each in figures])
    others = [each for each in subjects if part.ours in subjects and each != part.ours]
    yield _row([name, *subjects, *(f"{part.ours} / {each}" for each in others)])
    yield _row(["---"] + ["---:"] * (len(subjects) + len(others)))
    for case in in_order([each.case for each in figures]):
        found = {each.subject: each for each in figures if each.case == case}
        row = [cell(found[each]) if each in found else "" for each in subjects]
        yield _row([case, *row, *(_ratio(found, part.ours, each) for each in others)])


def _ratio(found: dict[str, Figure], ours: str, other: str) -> str:
    if ours not in found or other not in found:
        return ""
    value = ratio(found[ours], found[other])
    return "" if value is None else f"{value:.2f}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rounds_of(part: PartResult) -> str:
    """Return how many samples the figures of a part have."""
    counts = sorted({len(each.samples) for each in part.figures})
    if not counts:
        return "no figure"
    least, most = counts[0], counts[-1]
    middle = int(statistics.median(len(each.samples) for each in part.figures))
    return f"{least}" if least == most else f"{least} to {most}, mostly {middle}"
