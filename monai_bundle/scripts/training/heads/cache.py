"""Keep every usable film, decoded once by the bundle's own preprocessing, in one array of bytes.

A cache is a folder with the films' list (films.csv), their grey levels (levels.npy, N x side x side
of 8 bits, memory-mapped) and the state of each (states.npy). An interrupted run continues. Films of
the test splits are left out unless they are asked for, and a cache that has them is refused by the
training.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from scripts.bundle.files import read_config
from scripts.data.datasets import Radiograph
from scripts.refusal import find_refusal
from scripts.training.heads.table import (
    TEST_PARTS,
    FilmTable,
    is_usable,
    read_table,
    table_of,
    write_table,
)

STRIDE: Final = 32  # of the network: a side is a multiple of it
LIST, LEVELS, STATES = "films.csv", "levels.npy", "states.npy"
WAITING, READY, REFUSED = 0, 1, 2  # the state of a film
_FLUSH_EVERY: Final = 256  # films, so that an interruption loses no more
Levels = NDArray[np.uint8]
Decode = Callable[[str], Levels | None]  # a file's path to side x side, None if it is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """The decoded films of a cache."""

    table: FilmTable
    levels: Levels  # of all films that the cache lists
    places: NDArray[np.int64]  # of the table's films in `levels`

    @property
    def side(self) -> int:
        """Rows and columns of a film."""
        return int(self.levels.shape[1])

    def images(self, index: NDArray[Any]) -> Tensor:
        """Return the films at `index` of the table: Bx1xHxW in [-1, 1]."""
        return scaled(torch.from_numpy(self.levels[self.places[index]]))[:, None]


def scaled(levels: Tensor) -> Tensor:
    """Return bytes as the network's input: float32 in [-1, 1]."""
    return levels.float() / 127.5 - 1


def preprocessing_at(side: int) -> Decode:
    """Return the bundle's own preprocessing, for films of `side` rows and columns.

    Raises:
        ValueError: the network cannot use this side.
    """
    if side < STRIDE or side % STRIDE:
        raise ValueError(f"the side is {side}: it must be a multiple of {STRIDE}")
    config = read_config()
    for transform in config["preprocessing"]["transforms"]:
        if "spatial_size" in transform:
            transform["spatial_size"] = [side, side]
    preprocessing = config.get_parsed_content("preprocessing")

    def decode(path: str) -> Levels | None:
        try:
            image = torch.as_tensor(preprocessing({"image": path})["image"])
        except Exception as error:
            if find_refusal(error):
                return None
            if isinstance(error.__cause__, OSError):  # MONAI names the transform, not the file
                raise error.__cause__ from None
            raise
        return ((image[0] + 1) * 127.5).round().byte().numpy()

    return decode


def write_cache(
    rows: Iterable[Radiograph],
    folder: Path,
    *,
    side: int,
    workers: int = 1,
    with_test: bool = False,
) -> Counter[str]:
    """Decode the usable films of a manifest that `folder` lacks; return how many have which state.

    Args:
        rows: of the manifest.
        folder: of the cache.
        side: rows and columns of a decoded film.
        workers: the number of threads that decode.
        with_test: whether the test splits are decoded too, for a release's single evaluation.

    Raises:
        ValueError: the folder holds other films, or the network cannot use this side.
        OSError: a film cannot be opened.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: it must be above 0")
    chosen = [row for row in rows if is_usable(row, with_test=with_test)]
    chosen.sort(key=lambda row: row["sha256"])
    decode = preprocessing_at(side)
    levels, states = _open(table_of(chosen), folder, side)
    waiting = np.flatnonzero(states == WAITING)
    paths = [chosen[place]["image"] for place in waiting]
    decoded = _decode_all(decode, paths, workers=workers)
    for done, (place, film) in enumerate(zip(waiting, decoded, strict=True), start=1):
        if film is not None:
            levels[place] = film
        if done % _FLUSH_EVERY == 0:
            levels.flush()
        states[place] = REFUSED if film is None else READY
    levels.flush()
    states.flush()
    return Counter(decoded=int((states == READY).sum()), refused=int((states == REFUSED).sum()))


def _open(table: FilmTable, folder: Path, side: int) -> tuple[Any, Any]:
    """Open the arrays of a cache for writing; they are made if the folder has no list."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {LEVELS: (len(table), side, side), STATES: (len(table),)}
    if not len(table):
        raise ValueError("the manifest has no film that a head could learn from")
    if not (folder / LIST).exists():
        for name, shape in shapes.items():
            open_memmap(folder / name, mode="w+", dtype=np.uint8, shape=shape).flush()
        write_table(table, folder / LIST)  # last: a folder with a list has its arrays
    levels, states = (open_memmap(folder / name, mode="r+") for name in shapes)
    known = read_table(folder / LIST)
    same = levels.shape == shapes[LEVELS] and np.array_equal(known.sha256, table.sha256)
    if not (same and np.array_equal(known.part, table.part)):
        raise ValueError(f"{folder} has other films, parts or another side: name another folder")
    return levels, states


def _decode_all(decode: Decode, paths: Sequence[str], *, workers: int) -> Iterator[Levels | None]:
    """Yield each decoded film, in the order of the paths; decoders leave Python's lock."""
    with ThreadPool(workers) as pool:
        films = pool.imap(decode, paths)
        yield from tqdm(films, total=len(paths), desc="films", mininterval=10, ncols=80)


def read_cache(folder: Path, *, with_test: bool = False) -> Films:
    """Open a complete cache, without the films that were refused.

    Args:
        folder: of the cache.
        with_test: whether films of the test splits may be in it.

    Raises:
        ValueError: it is incomplete, or has films of a test split.
        FileNotFoundError: there is none.
    """
    if not (folder / LIST).exists():
        raise FileNotFoundError(f"no cache in {folder}: make one with `cache`")
    table = read_table(folder / LIST)
    if not with_test and np.isin(table.part, list(TEST_PARTS)).any():
        raise ValueError(f"{folder} has films of a test split: make a cache without --with-test")
    states = np.load(folder / STATES)
    if waiting := int((states == WAITING).sum()):
        raise ValueError(f"{folder} lacks {waiting} films: run `cache` again")
    places = np.flatnonzero(states == READY)
    levels = open_memmap(folder / LEVELS, mode="r")
    return Films(table=table.take(places), levels=levels, places=places)
