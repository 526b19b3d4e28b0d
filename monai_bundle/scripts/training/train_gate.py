"""Train the gate of the published network.

Run `python -m scripts.training.train_gate` from the bundle's folder. Only the network's `scope`
head is trained, on the films of all sources in equal shares, as they are and changed as in
training, against the images of `data.out_of_scope` and `data.synthetic_negatives`. Its limits are
then chosen on the validation parts of all sources: the source that would lose most films counts.
Writes the weights and configs/metadata.json. With `--leave-out SOURCE` nothing is written: the gate
is trained without that source, and what it refuses of it is printed.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy
from tqdm import tqdm

from scripts.bundle.files import build_component, read_metadata, write_metadata
from scripts.checksum import sha256_of
from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED, all_sets, read_manifest
from scripts.network.batchnorm_folding import fold_batchnorm, to_channels_last
from scripts.network.ensemble import (
    MIDDLE_SIDE,
    SCOPE_CLASSES,
    Ensemble,
    ScopeHead,
    channel_statistics,
)
from scripts.refusal import RefusalCode
from scripts.training.gate_images import Batch, GateImages, prepare_films, source_of
from scripts.training.heads.table import is_usable
from scripts.training.package_weights import write_weights

GATE: Final = "scope."  # how the names of its weights begin
MOST_OF_A_SOURCE: Final = 600  # films learned from, or a quarter of them if that is more
MOST_REPEATS: Final = 2  # of the films of smaller sources
MOST_TO_CHOOSE_ON: Final = 400  # films of a source's validation part
ENOUGH: Final = 200  # films: smaller sources are put together to choose limits
REFUSED_BY_HEAD: Final = 0.005  # share of a source's validation part that the head may refuse
BEYOND_REFERENCE: Final = 0.002  # share of it that is farther away than the reference distance
DISTANCE_MARGIN: Final = 2.0  # times that distance: images of other machines differ in texture
EPOCHS: Final = 10
RATE: Final = 6e-3  # the highest learning rate
RESTYLED: Final = 0.7  # share of the drawn chests that are given the style of a film
LEAST_SPREAD: Final = 0.02
LATERAL: Final = SCOPE_CLASSES.index(RefusalCode.LATERAL)
BATCH_SIZE: Final = 128
SHRINKAGE: Final = 0.05  # of the covariance towards its diagonal


def load_frozen_network() -> Ensemble:
    """Return the published network with its weights, and with a new gate.

    Raises:
        ValueError: the weights are not those of the network, or not those of the metadata.
    """
    ensemble: Ensemble = build_component("network_def")
    weights = read_metadata()["weights"]
    if sha256_of(weights["path"]) != weights["sha256"]:
        raise ValueError(f"{weights['path']} is not the file that configs/metadata.json names")
    state = torch.load(weights["path"], map_location="cpu", weights_only=True)
    without_gate = {name: value for name, value in state.items() if not name.startswith(GATE)}
    missing, unexpected = ensemble.load_state_dict(without_gate, strict=False)
    if wrong := [*unexpected, *(name for name in missing if not name.startswith(GATE))]:
        raise ValueError(f"the weights are not those of the network: {wrong[0]}")
    return ensemble.eval()


def by_source(rows: Iterable[Radiograph]) -> dict[str, list[Radiograph]]:
    """Return the films of each source in a random order that depends on the films alone."""
    found: dict[str, list[Radiograph]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["sha256"]):
        found[source_of(row)].append(row)
    return dict(sorted(found.items()))


def films_to_learn_from(
    rows: Iterable[Radiograph], *, without: str | None = None
) -> list[Radiograph]:
    """Return the films of the training folds, with no source much above the others."""
    folds = (
        row for row in rows if row["part"].startswith("fold-") and is_usable(row, with_test=False)
    )
    chosen = [
        film
        for source, films in by_source(folds).items()
        if source != without
        for film in (films * MOST_REPEATS)[: max(MOST_OF_A_SOURCE, len(films) // 4)]
    ]
    if not chosen:
        raise ValueError("the manifest has no film in a training fold")
    order = np.random.default_rng(SEED).permutation(len(chosen))
    return [chosen[place] for place in order]


def films_to_choose_on(rows: Iterable[Radiograph]) -> list[Radiograph]:
    """Return the films of all sources' validation parts, at most so many of each source."""
    parts = (row for row in rows if row["part"] == "validation" and is_usable(row, with_test=False))
    return [film for films in by_source(parts).values() for film in films[:MOST_TO_CHOOSE_ON]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFeatures:
    """The frozen network's middle maps of images, pooled, with what is known of each image."""

    maps: Tensor  # NxCx7x7, bfloat16
    statistics: Tensor  # Nx2C, of the maps before they are pooled
    classes: Tensor  # N, indices of SCOPE_CLASSES
    sources: NDArray[np.str_]  # N
    is_film: Tensor  # N

    @property
    def is_restyled(self) -> Tensor:
        """Whether an image is a chest that was made or drawn: laid over, it has a film's style."""
        return ~self.is_film & ((self.classes == 0) | (self.classes == LATERAL))


def extract_features(ensemble: nn.Module, batches: Iterable[Batch], total: int) -> GateFeatures:
    """Run the frozen network up to the middle maps on all images."""
    folded = to_channels_last(fold_batchnorm(ensemble))
    maps, statistics = [], []
    classes: list[int] = []
    sources: list[str] = []
    is_film: list[bool] = []
    progress = tqdm(desc="features", total=total, mininterval=5, ncols=80)
    for batch in batches:
        images = batch.images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            middle = folded.middle(images)  # type: ignore[operator] # a copy of an Ensemble
        maps.append(adaptive_avg_pool2d(middle.float(), MIDDLE_SIDE).bfloat16())
        statistics.append(channel_statistics(middle.float()))
        classes.extend(batch.classes)
        sources.extend(batch.sources)
        is_film.extend([batch.is_film] * len(images))
        progress.update(len(images))
    progress.close()
    return GateFeatures(
        maps=torch.cat(maps),
        statistics=torch.cat(statistics),
        classes=torch.tensor(classes),
        sources=np.array(sources, np.str_),
        is_film=torch.tensor(is_film),
    )


def restyled(maps: Tensor, chosen: Tensor, films: Tensor) -> Tensor:
    """Give each channel of the chosen maps the mean and the spread that it has in a film.

    What is left of a drawn chest is where things are (Huang and Belongie, "Arbitrary Style Transfer
    in Real-time with Adaptive Instance Normalization", ICCV 2017).

    Args:
        maps: BxCxHxW.
        chosen: which of them are changed, B.
        films: which of them are films, B; for each chosen one, one is drawn.
    """
    if not (chosen.any() and films.any()):
        return maps
    donors = maps[films][torch.randint(int(films.sum()), (int(chosen.sum()),))]
    given = maps[chosen]
    middle, spread = _means_and_spreads(given)
    new_middle, new_spread = _means_and_spreads(donors)
    changed = maps.clone()
    changed[chosen] = (given - middle) / (spread + LEAST_SPREAD) * new_spread + new_middle
    return changed


def _means_and_spreads(maps: Tensor) -> tuple[Tensor, Tensor]:
    return maps.mean((2, 3), keepdim=True), maps.std((2, 3), keepdim=True)


def train_head(head: nn.Module, features: GateFeatures, *, seed: int) -> None:
    """Train the classifier of middle maps."""
    torch.manual_seed(seed)
    maps, classes = features.maps, features.classes
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE / 2, weight_decay=1e-2)
    batches = max(1, len(maps) // BATCH_SIZE)
    steps = EPOCHS * batches + 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    head.train()
    for epoch in range(EPOCHS):
        losses = []
        for index in torch.randperm(len(maps)).split(BATCH_SIZE)[:batches]:
            chosen = features.is_restyled[index] & (torch.rand(len(index)) < RESTYLED)
            given = restyled(maps[index].float(), chosen, features.is_film[index])
            loss = cross_entropy(head(given), classes[index], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)
    head.eval()


def fit_distance(head: ScopeHead, statistics: Tensor) -> None:
    """Store the mean and the whitening matrix of channel statistics Nx2C in scope."""
    covariance = torch.cov(statistics.T.double())
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().diag()
    values, vectors = torch.linalg.eigh(covariance)
    head.mean.copy_(statistics.mean(0))
    head.whitening.copy_((vectors / values.clamp(min=1e-9).sqrt()).float())


def fit(head: ScopeHead, features: GateFeatures) -> None:
    """Train the classifier and fit the distance."""
    train_head(head.places, features, seed=SEED)
    fit_distance(head, features.statistics[features.is_film])


@torch.inference_mode()
def answers(head: ScopeHead, features: GateFeatures) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the probability of being in scope and the distance of each image."""
    logits = torch.cat([head.places(maps.float()) for maps in features.maps.split(512)])
    distances = head.distances(features.statistics)[:, 0]
    return logits.softmax(1)[:, 0].double().numpy(), distances.double().numpy()


def choose_limits(head: ScopeHead, features: GateFeatures) -> dict[str, Any]:
    """Return the metadata's `scope`: limits at which few films of any source are refused."""
    shares, distances = answers(head, features)
    names, counts = np.unique(features.sources, return_counts=True)
    small = set(names[counts < ENOUGH])  # one of 27 films is more than half a per cent
    groups = np.array(["several" if name in small else name for name in features.sources])
    least, farthest = [], []
    for group in np.unique(groups):
        chosen = groups == group
        least.append(float(np.quantile(shares[chosen], REFUSED_BY_HEAD)))
        farthest.append(float(np.quantile(distances[chosen], 1 - BEYOND_REFERENCE)))
    return {
        "least_in_scope": round(min(least), 5),
        "largest_distance": round(DISTANCE_MARGIN * max(farthest), 4),
        "chosen_on": "validation",
        "images": len(shares),
    }


def refused(head: ScopeHead, features: GateFeatures, limits: dict[str, Any]) -> int:
    """Return how many of the images the gate refuses."""
    shares, distances = answers(head, features)
    is_far = distances > limits["largest_distance"]
    return int(((shares < limits["least_in_scope"]) | is_far).sum())


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the gate, choose its limits, and write the weights and the metadata."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--cache", type=Path, help="decoded films, see scripts.training.heads")
    parser.add_argument("--every", type=int, default=1, help="use every n-th film")
    parser.add_argument("--leave-out", metavar="SOURCE", help="do not learn from it: measure")
    options = parser.parse_args(arguments)
    if options.every < 1:
        parser.error(f"every is {options.every}: it must be above 0")
    rows = read_manifest(options.manifest) if options.manifest else all_sets(options.data_dir)
    ensemble, prepare = load_frozen_network(), prepare_films(options.cache)

    def features_of(films: Sequence[Radiograph], *, learned: bool) -> GateFeatures:
        images = GateImages(films[:: options.every], prepare, learned=learned, seed=SEED)
        return extract_features(ensemble, images, len(images))

    left_out = options.leave_out
    if left_out and left_out not in (known := by_source(rows)):
        parser.error(f"no source is named {left_out}: there are {', '.join(known)}")
    fit(ensemble.scope, features_of(films_to_learn_from(rows, without=left_out), learned=True))
    to_choose_on = [row for row in films_to_choose_on(rows) if source_of(row) != left_out]
    limits = choose_limits(ensemble.scope, features_of(to_choose_on, learned=False))
    print(limits)
    if left_out:
        trainable = [row for row in rows if row["part"].startswith(("fold-", "validation"))]
        films = by_source(row for row in trainable if is_usable(row, with_test=False))[left_out]
        found = refused(ensemble.scope, features_of(films, learned=False), limits)
        print(f"{left_out}: {found} of {len(films[:: options.every])} refused")
        return
    write_weights(ensemble)
    write_metadata(read_metadata() | {"scope": limits})


if __name__ == "__main__":
    main()
