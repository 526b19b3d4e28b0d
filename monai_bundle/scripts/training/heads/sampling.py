"""Choose the films to train on and to hold out, and draw batches that are balanced.

Balance: each category has the same share of a batch, and in it each pair of source and view. A film
may be drawn at most `MOST_OFTEN` times as often as in an even draw, so that two films of a small
set do not fill an eighth of each batch. What a cell loses to this limit goes to the others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scripts.training.heads.table import FilmTable

MOST_OFTEN: Final = 8.0
MOST_MEASURED: Final = 700  # films of one source: all of RSNA, and a share of the many children


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The places of films in a table."""

    seen: NDArray[np.int64]  # trained on
    held_out: NDArray[np.int64]  # measured, and chosen on


def split_films(table: FilmTable, held_out: str, *, sources: Sequence[str] = ()) -> Split:
    """Hold out sources or a part, and train on the trainable rest.

    No patient is on both sides: films of a held-out patient in other sources take no part.

    Args:
        table: the films.
        held_out: sources joined by "+", or one part, e.g. "rsna2018", "fold-0", "validation".
        sources: those to use at all; every source if empty.

    Raises:
        ValueError: nothing would be held out, or nothing trained on.
    """
    used = table.is_trainable
    if sources:
        used &= np.isin(table.source, list(sources))
    names = held_out.split("+")
    held = used & (np.isin(table.source, names) | np.isin(table.part, names))
    known = {*table.source[used], *table.part[used]}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no trainable film is in {unknown[0]}: choose from {sorted(known)}")
    seen = used & ~held & ~np.isin(table.patient, table.patient[held])
    if not seen.any():
        raise ValueError(f"without {held_out} there is no film to train on")
    return Split(seen=np.flatnonzero(seen), held_out=_fewer(table, np.flatnonzero(held)))


def _fewer(table: FilmTable, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at most `MOST_MEASURED` places of each source, those of the lowest hashes."""
    ordered = places[np.argsort(table.sha256[places], kind="stable")]
    sources = table.source[ordered]
    kept = [ordered[sources == name][:MOST_MEASURED] for name in np.unique(sources)]
    return np.sort(np.concatenate(kept))


def cells_of(table: FilmTable, places: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Return the places of each combination of category, source and view."""
    names = [
        f"{table.category[place]} {table.source[place]} {table.view[place]}" for place in places
    ]
    labels = np.array(names)
    return {str(name): places[labels == name] for name in np.unique(labels)}


def cell_shares(cells: dict[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return each cell's share of a batch."""
    categories = [name.split(" ")[0] for name in cells]
    sizes = np.array([len(places) for places in cells.values()])
    wanted: NDArray[np.float64] = np.array([1 / categories.count(name) for name in categories])
    most = MOST_OFTEN * sizes / sizes.sum()
    shares: NDArray[np.float64] = wanted / wanted.sum()
    while (above := shares > most + 1e-9).any():
        shares[above] = most[above]
        free = shares < most
        shares[free] *= (1 - shares[~free].sum()) / shares[free].sum()
    return shares


def draw_batches(
    cells: dict[str, NDArray[np.int64]], *, size: int, steps: int, seed: Sequence[int]
) -> Iterator[NDArray[np.int64]]:
    """Yield `steps` batches of places, in each of which every cell has its share, to one film."""
    chance = np.random.default_rng(list(seed))
    edges = cell_shares(cells).cumsum()
    films = list(cells.values())
    for _ in range(steps):
        spread = (np.arange(size) + chance.random()) / size  # one draw in each of `size` intervals
        chosen = np.searchsorted(edges, spread * edges[-1], side="right")
        yield chance.permutation([_any_of(films[cell], chance) for cell in chosen])


def _any_of(places: NDArray[np.int64], chance: np.random.Generator) -> Any:  # noqa: ANN401 -- an element
    return places[chance.integers(len(places))]
