"""Place the points of a plot, which the macros of `parts.html` draw as SVG with a table."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 520
HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 26, 10, 28
_LABELS: Final = 5  # as many as there is room for along the axis
_STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)
_LINES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A share, and what the table says about it; None where nothing was counted."""

    value: float | None
    low: float | None = None  # of its interval
    high: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of one line, or of the bars of one kind, in the order of the labels."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A mark on an axis."""

    at: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot of shares over labels; it has at least one label."""

    title: str
    first_column: str  # of the table
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    band: tuple[tuple[float, float] | None, ...] = ()  # for each label
    band_name: str = ""
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def top(self) -> float:
        """The share at the upper end of the axis."""
        step = self._step()
        return min(1.0, step * math.ceil(max(self._greatest(), step) / step - 1e-9))

    @property
    def left(self) -> int:
        """The horizontal beginning of the drawing."""
        return _LEFT

    @property
    def right(self) -> int:
        """The horizontal end of the drawing."""
        return self.width - _RIGHT

    @property
    def bottom(self) -> int:
        """The vertical position of 0."""
        return self.height - _BOTTOM

    def shares(self) -> list[Tick]:
        """Return the marks of the vertical axis."""
        step, top = self._step(), self.top
        return [
            Tick(at=self.y(each * step), words=f"{each * step:.0%}")
            for each in range(round(top / step) + 1)
        ]

    def places(self) -> list[Tick]:
        """Return the labels that there is room for, the last among them."""
        every = math.ceil(len(self.labels) / _LABELS)
        last = len(self.labels) - 1
        return [
            Tick(at=self.x(place), words=label)
            for place, label in enumerate(self.labels)
            if (last - place) % every == 0
        ]

    def x(self, place: int) -> float:
        """Return the horizontal position of a label."""
        return round(_LEFT + (place + 0.5) * self._slot(), 1)

    def y(self, share: float) -> float:
        """Return the vertical position of a share."""
        room = self.bottom - _TOP
        return round(self.bottom - room * min(share, self.top) / self.top, 1)

    def lines(self, series: Series) -> list[str]:
        """Return the points of each unbroken part of a line, as SVG writes them."""
        return [
            " ".join(f"{self.x(place)},{self.y(value)}" for place, value in part)
            for part in _runs(series)
        ]

    def areas(self) -> list[str]:
        """Return the outline of each unbroken part of the band."""
        parts: list[list[tuple[int, tuple[float, float]]]] = [[]]
        for place, each in enumerate(self.band):
            if each is None:
                parts.append([])
            else:
                parts[-1].append((place, each))
        return [self._outline(part) for part in parts if part]

    def bar(self, number: int, place: int) -> Bar:
        """Return the bar of a series at a label; bars of several series stand side by side."""
        share = self.series[number].points[place].value or 0.0
        width = 0.8 * self._slot() / len(self.series)
        left = self.x(place) + (number - len(self.series) / 2) * width
        y = self.y(share)
        return Bar(x=round(left, 1), y=y, width=round(width, 1), height=round(self.bottom - y, 1))

    def _outline(self, part: list[tuple[int, tuple[float, float]]]) -> str:
        """Go along the upper edge and back along the lower; level to the sides of each label."""
        half = self._slot() / 2
        ends = [(self.x(place) + side, each) for place, each in part for side in (-half, half)]
        there = [f"{x:.1f},{self.y(high)}" for x, (_, high) in ends]
        back = [f"{x:.1f},{self.y(low)}" for x, (low, _) in reversed(ends)]
        return " ".join([*there, *back])

    def _slot(self) -> float:
        return (self.right - self.left) / len(self.labels)

    def _step(self) -> float:
        return next((step for step in _STEPS if step * _LINES >= self._greatest()), _STEPS[-1])

    def _greatest(self) -> float:
        points = [point for each in self.series for point in each.points]
        shares = [share for point in points for share in (point.value, point.high)]
        ends = [each[1] for each in self.band if each is not None]
        return max((share for share in (*shares, *ends) if share is not None), default=0.0)


def _runs(series: Series) -> Iterator[list[tuple[int, float]]]:
    """Yield the runs of points that have a value."""
    run: list[tuple[int, float]] = []
    for place, point in enumerate(series.points):
        if point.value is not None:
            run.append((place, point.value))
        elif run:
            yield run
            run = []
    if run:
        yield run
