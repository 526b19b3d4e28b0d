"""Where the points of a plot are."""

from hypothesis import given
from hypothesis import strategies as st

from service.web.plot import HEIGHT, WIDTH, Plot, Point, Series

SHARES = st.floats(0, 1)


def plot(*values: float | None, band: tuple[tuple[float, float] | None, ...] = ()) -> Plot:
    points = tuple(Point(value=value, words=str(value)) for value in values)
    return Plot(
        title="t",
        first_column="c",
        labels=tuple(f"l{place}" for place in range(len(values))),
        series=(Series(name="s", points=points),),
        band=band,
    )


def pairs(points: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (each.split(",") for each in points.split())]


@given(st.lists(st.none() | SHARES, min_size=1, max_size=400))
def test_every_point_lies_within_the_drawing(values: list[float | None]) -> None:
    drawn = plot(*values)
    points = [pair for line in drawn.lines(drawn.series[0]) for pair in pairs(line)]
    assert len(points) == len([value for value in values if value is not None])
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in points)
    bars = [drawn.bar(0, place) for place in range(len(values))]
    assert all(each.height >= 0 and each.y + each.height <= HEIGHT for each in bars)


@given(st.lists(SHARES, min_size=1, max_size=30))
def test_the_axis_reaches_the_greatest_share_with_few_marks(values: list[float]) -> None:
    drawn = plot(*values)
    assert max(values) <= drawn.top + 1e-9
    assert 2 <= len(drawn.shares()) <= 6
    assert len(drawn.places()) <= 5
    assert drawn.places()[-1].words == drawn.labels[-1]


def test_a_missing_value_breaks_the_line_and_the_band() -> None:
    drawn = plot(0.1, None, 0.2, 0.3, band=((0, 0.5), None, (0, 0.2), (0.1, 0.3)))
    assert [len(pairs(line)) for line in drawn.lines(drawn.series[0])] == [1, 2]
    assert [len(pairs(area)) for area in drawn.areas()] == [4, 8]


def test_a_plot_of_nothing_has_an_axis() -> None:
    drawn = plot(None)
    assert [tick.words for tick in drawn.shares()] == ["0%", "1%"]
    assert drawn.lines(drawn.series[0]) == []
