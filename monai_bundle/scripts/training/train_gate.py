"""Train the gate of the published network.

Run `python -m scripts.training.train_gate` from the bundle's folder. Only the network's `scope`
head is trained, on its own training radiographs, unchanged and augmented, against the images of
`data.out_of_scope` and `data.synthetic_negatives`. Its limits are then chosen on the validation
part alone, as the share of radiographs that may be refused. Writes the weights and
configs/metadata.json.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from scripts.bundle.files import build_component, read_metadata, write_metadata
from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED, load_rows, rows_of_part, training_rows
from scripts.data.out_of_scope import CHANGES
from scripts.data.synthetic_negatives import DRAWINGS, photograph
from scripts.network.ensemble import (
    MIDDLE_SIDE,
    SCOPE_CLASSES,
    Ensemble,
    ScopeHead,
    channel_statistics,
)
from scripts.preprocessing.intensity import scale_batch
from scripts.refusal import RefusalCode
from scripts.training.augmentation import Augment
from scripts.training.package_weights import write_weights

Prepare = Callable[[Radiograph], Tensor]  # a manifest's row to the network's input 1xHxW
REPEATS: Final = {"adult": 6}  # the few adults weigh as much as a third of the children
REFUSED_BY_HEAD: Final = 0.004  # share of the validation part that the head may refuse
BEYOND_REFERENCE: Final = 0.002  # share of it that is farther away than the reference distance
DISTANCE_MARGIN: Final = 2.0  # times that distance: images of other machines differ in texture
DRAWING_WEIGHT: Final = 4.0  # relative frequencies, beside those of CHANGES
PHOTOGRAPH_WEIGHT: Final = 3.0
EPOCHS: Final = 12
BATCH_SIZE: Final = 64
SHRINKAGE: Final = 0.05  # of the covariance towards its diagonal


class GateImages:
    """Images in scope and out of scope made from given radiographs, in batches."""

    def __init__(self, rows: Sequence[Radiograph], prepare: Prepare, *, seed: int) -> None:
        self.rows, self.prepare = rows, prepare
        self.generator = np.random.default_rng(seed)
        self.augment = Augment(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / BATCH_SIZE)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield images 3Bx1xHxW, unchanged, augmented and out of scope, and their classes 3B."""
        for start in range(0, len(self.rows), BATCH_SIZE):
            rows = self.rows[start : start + BATCH_SIZE]
            plain = torch.stack([self.prepare(row) for row in rows])
            augmented = self.augment.change(plain)
            made = [self._out_of_scope(each[0]) for each in augmented]
            others = torch.stack([image for image, _ in made])[:, None]
            classes = torch.tensor([0] * 2 * len(plain) + [number for _, number in made])
            yield scale_batch(torch.cat([plain, augmented, others])), classes

    def _out_of_scope(self, image: Tensor) -> tuple[Tensor, int]:
        """Return an image HxW made from this one, or drawn or photographed, and its class."""
        weights = np.array([*(share for *_, share in CHANGES), DRAWING_WEIGHT, PHOTOGRAPH_WEIGHT])
        index = int(self.generator.choice(len(weights), p=weights / weights.sum()))
        if index < len(CHANGES):
            code, change, _ = CHANGES[index]
            return change(image, self.generator), SCOPE_CLASSES.index(code)
        drawing = DRAWINGS[int(self.generator.integers(len(DRAWINGS)))]
        draw = drawing if index == len(CHANGES) else photograph
        made = torch.from_numpy(draw(len(image), self.generator))
        return made, SCOPE_CLASSES.index(RefusalCode.NOT_CHEST)


def load_preparation() -> Prepare:
    """Return the bundle's preprocessing as a function of a manifest's row."""
    preprocessing = build_component("preprocessing")
    return lambda row: torch.as_tensor(preprocessing({"image": row["image"]})["image"])


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFeatures:
    """The frozen network's middle maps of images, and their classes."""

    maps: Tensor  # Nx112x7x7, bfloat16
    classes: Tensor  # N, indices of SCOPE_CLASSES
    statistics: Tensor  # Mx224, channel statistics of the M images in scope


def extract_features(ensemble: Ensemble, images: GateImages) -> GateFeatures:
    """Run the frozen network up to the middle maps on all images."""
    maps, all_classes, statistics = [], [], []
    for batch, classes in tqdm(images, desc="features", mininterval=5, ncols=80):
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            middle = ensemble.middle(batch.contiguous(memory_format=torch.channels_last))
            maps.append(nn.functional.adaptive_avg_pool2d(middle, MIDDLE_SIDE).bfloat16())
            statistics.append(channel_statistics(middle[classes == 0].float()))
        all_classes.append(classes)
    return GateFeatures(
        maps=torch.cat(maps), classes=torch.cat(all_classes), statistics=torch.cat(statistics)
    )


def train_head(head: nn.Module, maps: Tensor, classes: Tensor, *, seed: int) -> None:
    """Train the classifier of middle maps Nx112x7x7 on classes N."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(maps) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1)
    head.train()
    for epoch in range(EPOCHS):
        losses = []
        for index in torch.randperm(len(maps)).split(BATCH_SIZE)[: len(maps) // BATCH_SIZE]:
            loss = cross_entropy(head(maps[index].float()), classes[index], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)
    head.eval()


def fit_distance(head: ScopeHead, statistics: Tensor) -> None:
    """Store the mean and the whitening matrix of channel statistics Nx224 in scope."""
    covariance = torch.cov(statistics.T.double())
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().diag()
    values, vectors = torch.linalg.eigh(covariance)
    head.mean.copy_(statistics.mean(0))
    head.whitening.copy_((vectors / values.clamp(min=1e-9).sqrt()).float())


def choose_limits(
    ensemble: Ensemble, rows: Sequence[Radiograph], prepare: Prepare
) -> dict[str, Any]:
    """Return the metadata's `scope`: limits at which few of these radiographs are refused."""
    in_scope, distances = [], []
    for start in range(0, len(rows), BATCH_SIZE):
        images = torch.stack([prepare(row) for row in rows[start : start + BATCH_SIZE]])
        with torch.inference_mode():
            scope, distance = ensemble.scope(ensemble.middle(images))
        in_scope.append(scope.softmax(1)[:, 0])
        distances.append(distance[:, 0])
    shares, far = torch.cat(in_scope).double(), torch.cat(distances).double()
    reference = float(far.quantile(1 - BEYOND_REFERENCE))
    return {
        "least_in_scope": round(float(shares.quantile(REFUSED_BY_HEAD)), 5),
        "largest_distance": round(DISTANCE_MARGIN * reference, 4),
        "chosen_on": "validation",
        "images": len(rows),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the gate, choose its limits, and write the weights and the metadata."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use every n-th radiograph")
    options = parser.parse_args(arguments)
    rows = load_rows(options.data_dir, options.manifest)
    ensemble, prepare = build_component("network"), load_preparation()
    selected = training_rows(rows, repeats=REPEATS)[:: options.every]
    features = extract_features(ensemble, GateImages(selected, prepare, seed=SEED))
    train_head(ensemble.scope.places, features.maps, features.classes, seed=SEED)
    fit_distance(ensemble.scope, features.statistics)
    limits = choose_limits(ensemble, rows_of_part(rows, "validation"), prepare)
    write_weights(ensemble)
    write_metadata(read_metadata() | {"scope": limits})
    print(limits)


if __name__ == "__main__":
    main()
