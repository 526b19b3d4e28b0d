"""Keep what the frozen members compute for the films of a cache.

Of every film the pooled features and the members' logits are kept, of adults the last and the
middle maps too, because places in them are learned from. A folder holds those of one network.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from tqdm import tqdm

from scripts.data.predictions import CHILDREN
from scripts.network.batchnorm_folding import fold_batchnorm, to_channels_last
from scripts.network.ensemble import Ensemble, MemberMaps
from scripts.training.heads.cache import Films

BATCH_SIZE: Final = 32
_DONE: Final = "done.txt"  # names the weights of a complete folder


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFeatures:
    """What the members compute for the N films of a cache, as parallel arrays."""

    pooled: NDArray[np.float16]  # N x members * 1280, the means of the last maps
    logits: NDArray[np.float32]  # N x members, of pneumonia
    last: NDArray[np.float16]  # of the A adults' films: A x members * 1280 x 7 x 7
    middle: NDArray[np.float16]  # A x members * 112 x 14 x 14
    adults: NDArray[np.int64]  # the A films' places among the N


def keep_features(ensemble: Ensemble, films: Films, folder: Path, weights: str) -> MemberFeatures:
    """Compute the features of all films, unless `folder` has them already, and return them.

    Args:
        ensemble: with its weights.
        films: the cache.
        folder: for the arrays.
        weights: the digest of the members' weights.
    """
    marker = folder / _DONE
    order = hashlib.sha256("".join(films.table.sha256).encode()).hexdigest()
    wanted = f"{weights} {order} {films.side}\n"
    if not marker.exists() or marker.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        _write(ensemble, films, folder)
        marker.write_text(wanted)
    return read_features(folder)


def read_features(folder: Path) -> MemberFeatures:
    """Read a complete folder.

    Raises:
        FileNotFoundError: it is not complete.
    """
    if not (folder / _DONE).exists():
        raise FileNotFoundError(f"no complete features in {folder}")
    names = ("pooled", "logits", "last", "middle", "adults")
    return MemberFeatures(
        **{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names}
    )


def _write(ensemble: Ensemble, films: Films, folder: Path) -> None:
    network = to_channels_last(fold_batchnorm(ensemble))
    adults = np.flatnonzero(films.table.source != CHILDREN)
    order = np.concatenate([adults, np.flatnonzero(films.table.source == CHILDREN)])
    arrays: dict[str, NDArray[np.floating]] = {}
    for start in tqdm(range(0, len(order), BATCH_SIZE), desc="features", mininterval=10, ncols=80):
        places = order[start : start + BATCH_SIZE]
        with torch.inference_mode():
            images = films.images(places).contiguous(memory_format=torch.channels_last)
            found: MemberMaps = network.read_members(images)  # type: ignore[operator] # a module's
        if not arrays:
            arrays = _open(folder, found, len(order), len(adults))
        arrays["pooled"][places] = found.last.mean((2, 3)).numpy()
        arrays["logits"][places] = found.activation.mean((2, 3)).numpy()
        rows = slice(start, min(start + BATCH_SIZE, len(adults)))
        if start < len(adults):
            count = rows.stop - rows.start
            arrays["last"][rows] = found.last[:count].numpy()
            arrays["middle"][rows] = found.middle[:count].numpy()
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined] # memory-mapped
    np.save(folder / "adults.npy", adults)


def _open(
    folder: Path, found: MemberMaps, films: int, adults: int
) -> dict[str, NDArray[np.floating]]:
    last, middle = found.last.shape[1:], found.middle.shape[1:]
    shapes = {
        "pooled": (films, last[0]),
        "logits": (films, found.activation.shape[1]),
        "last": (adults, *last),
        "middle": (adults, *middle),
    }
    kinds = {name: np.float32 if name == "logits" else np.float16 for name in shapes}
    return {
        name: open_memmap(folder / f"{name}.npy", mode="w+", dtype=kinds[name], shape=shape)
        for name, shape in shapes.items()
    }
