"""Nobody is on both sides of a split, and no source says in a batch which category a film has."""

from collections import Counter

import numpy as np
import pytest
from scripts.training.heads.sampling import (
    MOST_OFTEN,
    cell_shares,
    cells_of,
    draw_batches,
    split_films,
)
from scripts.training.heads.table import FilmTable


def table(
    *, sources: list[str], categories: list[str], parts: list[str], patients: list[str]
) -> FilmTable:
    blank = np.full(len(sources), "")
    return FilmTable(
        sha256=np.array([f"{number:04}" for number in range(len(sources))]),
        source=np.array(sources),
        category=np.array(categories),
        patient=np.array(patients),
        view=blank,
        sex=blank,
        age_group=blank,
        part=np.array(parts),
        film=blank,
    )


FILMS = table(
    sources=["rsna2018", "rsna2018", "nih", "nih", "pediatric", "rsna2018", "adult_covid", "nih"],
    categories=["opacity", "normal", "other", "normal", "opacity", "opacity", "opacity", "normal"],
    parts=["fold-0", "fold-1", "fold-0", "fold-1", "fold-2", "rsna-test", "measuring", "excluded"],
    patients=["a", "b", "a", "c", "d", "e", "f", "g"],
)


def test_a_source_is_held_out_with_its_patients_everywhere() -> None:
    split = split_films(FILMS, "rsna2018")
    assert list(split.held_out) == [0, 1]
    assert list(split.seen) == [3, 4]  # film 2 is of patient a, who is held out


def test_a_fold_is_held_out_within_one_source() -> None:
    split = split_films(FILMS, "fold-0", sources=["rsna2018"])
    assert (list(split.held_out), list(split.seen)) == ([0], [1])


def test_the_test_split_and_what_is_measured_only_are_on_no_side() -> None:
    for held_out in ("rsna2018", "fold-0", "nih+pediatric"):
        split = split_films(FILMS, held_out)
        assert {5, 6, 7}.isdisjoint({*split.held_out, *split.seen})
    for held_out in ("rsna-test", "adult_covid", "nowhere"):
        with pytest.raises(ValueError, match=f"no trainable film is in {held_out}"):
            split_films(FILMS, held_out)
    with pytest.raises(ValueError, match="no film to train on"):
        split_films(FILMS, "rsna2018+nih+pediatric")


def many() -> FilmTable:
    """Two sources: one mostly ill, the other mostly not, and two films of a third."""
    groups = [
        ("a", "opacity", 300),
        ("a", "normal", 60),
        ("b", "opacity", 40),
        ("b", "normal", 198),
    ]
    groups.append(("c", "opacity", 2))
    sources = [source for source, _, count in groups for _ in range(count)]
    return table(
        sources=sources,
        categories=[category for _, category, count in groups for _ in range(count)],
        parts=["fold-0"] * len(sources),
        patients=[str(number) for number in range(len(sources))],
    )


def test_categories_have_the_same_share_and_in_each_the_sources() -> None:
    films = many()
    cells = cells_of(films, np.arange(598))  # without the third source
    assert dict(zip(cells, cell_shares(cells), strict=True)) == pytest.approx(
        {"normal a ": 0.25, "normal b ": 0.25, "opacity a ": 0.25, "opacity b ": 0.25}
    )


def test_a_film_of_a_small_cell_is_not_drawn_all_the_time() -> None:
    cells = cells_of(many(), np.arange(600))
    shares = dict(zip(cells, cell_shares(cells), strict=True))
    assert shares["opacity c "] == pytest.approx(MOST_OFTEN * 2 / 600)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["opacity a "] == pytest.approx(shares["opacity b "])


def test_every_batch_has_the_shares_and_the_seed_decides_which_films() -> None:
    films = many()
    cells = cells_of(films, np.arange(598))
    first, second = draw_batches(cells, size=40, steps=2, seed=(1, 1))
    for batch in (first, second):
        counts = Counter(zip(films.source[batch], films.category[batch], strict=True))
        assert len(counts) == 4
        assert set(counts.values()) <= {9, 10, 11}
    again, _ = draw_batches(cells, size=40, steps=2, seed=(1, 1))
    other, _ = draw_batches(cells, size=40, steps=2, seed=(1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_views_are_balanced_like_sources() -> None:
    films = many()
    films.view[:] = np.where(np.arange(600) % 3 == 0, "AP", "")
    cells = cells_of(films, np.flatnonzero(films.source == "a"))
    assert len(cells) == 4
    assert cell_shares(cells) == pytest.approx([0.25] * 4)
