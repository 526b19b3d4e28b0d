"""Keep the shipped network's pooled features of radiographs, so that heads can be tried in seconds.

The features of a radiograph are the spatial means of each member's last maps, one row of 6,400
numbers. Beside them are its logit and its attention map. They are stored in shards of NumPy files
in a run folder, by the SHA-256 of the radiograph; an interrupted extraction continues. A folder
holds features of one network: it names the weights.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from scripts.bundle.loaded import LoadedBundle
from scripts.network.batchnorm_folding import fold_batchnorm, to_channels_last
from scripts.refusal import find_refusal

SHARD: Final = 64  # radiographs in one file, and in one batch of the network
_WEIGHTS: Final = "weights.sha256"  # the file that names them


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFeatures:
    """What the shipped network computes for radiographs, as parallel arrays."""

    sha256: NDArray[np.str_]
    pooled: NDArray[np.float32]  # N x features
    logits: NDArray[np.float64]
    attention: NDArray[np.float32]  # N x 7 x 7


def extract(bundle: LoadedBundle, rows: Iterable[Mapping[str, Any]], folder: Path) -> int:
    """Store the features of those rows that `folder` lacks; return how many were refused.

    Rows whose image the preprocessing refuses have no features.

    Raises:
        ValueError: the folder holds features of other weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _require_weights(folder, bundle.metadata["weights"]["sha256"])
    known = set(_known(folder))
    waiting = [row for row in rows if row["sha256"] not in known]
    network = to_channels_last(fold_batchnorm(bundle.network))
    refused = 0
    for chunk in tqdm(list(_chunks(waiting)), desc="features", mininterval=10, ncols=80):
        prepared = [(row["sha256"], _prepare(bundle, row["image"])) for row in chunk]
        usable = [(sha256, image) for sha256, image in prepared if image is not None]
        refused += len(prepared) - len(usable)
        if usable:
            _write_shard(folder, [sha256 for sha256, _ in usable], network, usable)
    return refused


def _require_weights(folder: Path, sha256: str) -> None:
    """Name the weights in a new folder, and require that an older one is of the same."""
    name = folder / _WEIGHTS
    if not name.exists() and not any(folder.glob("*.npz")):
        name.write_text(f"{sha256}\n")
    if not name.exists() or name.read_text().strip() != sha256:
        raise ValueError(f"{folder} holds features of other or unnamed weights: remove it")


def _chunks(rows: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for start in range(0, len(rows), SHARD):
        yield rows[start : start + SHARD]


def _prepare(bundle: LoadedBundle, path: str) -> Tensor | None:
    try:
        return bundle.preprocess(path)
    except Exception as error:
        if find_refusal(error):
            return None
        raise


def _write_shard(
    folder: Path, names: list[str], network: torch.nn.Module, usable: list[tuple[str, Tensor]]
) -> None:
    pooled, logits, attention = run_members(network, torch.stack([image for _, image in usable]))
    number = sum(1 for _ in folder.glob("*.npz"))
    temporary = folder / "shard.tmp"
    with temporary.open("wb") as file:
        np.savez(
            file,
            sha256=np.array(names),
            pooled=pooled.numpy().astype(np.float16),
            logits=logits.double().numpy(),
            attention=attention.numpy(),
        )
    temporary.replace(folder / f"{number:05}.npz")  # a shard is complete or absent


def run_members(network: torch.nn.Module, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the members' pooled features BxF, and the network's logits B and map Bxhxw."""
    ensemble: Any = network
    with torch.inference_mode():
        ordered = images.contiguous(memory_format=torch.channels_last)
        maps = ensemble.read_members(ordered)
        outputs = ensemble.read(maps)
        pooled = maps.last.mean((2, 3))
    return pooled.float(), outputs["pred"][:, 0].float(), outputs["attention"][:, 0].float()


def _known(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as shard:
            yield from map(str, shard["sha256"])


def read_features(folder: Path, weights_sha256: str) -> FilmFeatures:
    """Read all shards of `folder`, which are of these weights.

    Raises:
        FileNotFoundError: there is none.
        ValueError: they are of other weights.
    """
    shards = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    if not shards:
        raise FileNotFoundError(f"no features in {folder}: extract them first")
    _require_weights(folder, weights_sha256)
    return FilmFeatures(
        sha256=np.concatenate([shard["sha256"] for shard in shards]),
        pooled=np.concatenate([shard["pooled"] for shard in shards]).astype(np.float32),
        logits=np.concatenate([shard["logits"] for shard in shards]),
        attention=np.concatenate([shard["attention"] for shard in shards]),
    )
