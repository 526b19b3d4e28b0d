"""Teach the gate what is not for the network: python -m scripts.training.train_gate.

The published network stays as it is; only its `scope` head learns, from the radiographs that the
network was trained on, as they are and changed as `augment` does, against the pictures of
`other_pictures` and `drawn_pictures`. Thresholds are then set on the validation part's radiographs
alone: so many of them in a thousand may be refused. Writes the weights and configs/metadata.json.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from scripts.data.datasets import Radiograph
from scripts.data.manifest import SEED, held_as, parts_of, to_train
from scripts.data.out_of_scope import FROM_RADIOGRAPHS
from scripts.data.synthetic_negatives import OF_NOTHING, photograph
from scripts.network.ensemble import MIDDLE_SIDE, SCOPE, Reader, ScopeHead, spread_of
from scripts.preprocessing.intensity import stretched
from scripts.refusal import Code, UnreadableRadiographError
from scripts.training.augmentation import Augment
from scripts.training.package_weights import configured, publish, read_metadata, write_metadata

Presenting = Callable[[Radiograph], Tensor]
REPEATS: Final = {"adult": 6}  # the few adults weigh as much as a third of the children
REFUSED_BY_HEAD: Final = 0.004  # of the validation part's radiographs
FARTHEST: Final = 0.002  # of them lie farther than the distance that the limit is a multiple of
ROOM: Final = 2.0  # other machines than those of the two sets have other textures
EPOCHS: Final = 12
BATCH: Final = 64
SHRINKAGE: Final = 0.05  # of the covariance towards its diagonal


class Pictures:
    """In-scope and out-of-scope pictures for given radiographs, a batch at a time."""

    def __init__(self, rows: Sequence[Radiograph], present: Presenting, *, seed: int) -> None:
        self.rows, self.present = rows, present
        self.chance = np.random.default_rng(seed)
        self.augment = Augment(seed)

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give pictures 3Bx1xHxW and which of SCOPE each is: plain, changed, out of scope."""
        for start in range(0, len(self.rows), BATCH):
            plain = torch.stack([self.present(row) for row in self.rows[start : start + BATCH]])
            changed = self.augment.change(plain)
            made = [self._other(each[0]) for each in changed]
            others = torch.stack([picture for picture, _ in made])[:, None]
            kinds = torch.tensor([0] * 2 * len(plain) + [kind for _, kind in made])
            yield toned(torch.cat([plain, changed, others])), kinds

    def _other(self, picture: Tensor) -> tuple[Tensor, int]:
        """Give a picture made of this one, or now and then of nothing, and what it is."""
        shares = np.array([share for _, _, share in FROM_RADIOGRAPHS] + [4.0, 3.0])
        index = int(self.chance.choice(len(shares), p=shares / shares.sum()))
        if index < len(FROM_RADIOGRAPHS):
            code, change, _ = FROM_RADIOGRAPHS[index]
            return change(picture, self.chance), SCOPE.index(code)
        of_nothing = OF_NOTHING[int(self.chance.integers(len(OF_NOTHING)))]
        make = of_nothing if index == len(FROM_RADIOGRAPHS) else photograph
        return torch.from_numpy(make(len(picture), self.chance)), SCOPE.index(Code.NOT_CHEST)


def toned(pictures: Tensor) -> Tensor:
    """Give pictures Bx1xHxW toned as the preprocessing would; what is blank stays as it is."""
    for index, picture in enumerate(pictures):
        with suppress(UnreadableRadiographError):
            pictures[index] = stretched(picture)
    return pictures


def presenting() -> Presenting:
    """Give what makes of a row of a manifest the network's input, 1xHxW."""
    preprocessing = configured("preprocessing")
    return lambda row: torch.as_tensor(preprocessing({"image": row["image"]})["image"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What the frozen network sees in pictures."""

    maps: Tensor  # Nx112x7x7, bfloat16
    kinds: Tensor  # N, which of SCOPE each picture is
    spreads: Tensor  # Mx224, of those in scope


def look(reader: Reader, pictures: Pictures) -> Looks:
    """Run the frozen network's lower half over all pictures."""
    maps, kinds, spreads = [], [], []
    for images, kind in tqdm(pictures, desc="looking", mininterval=5, ncols=80):
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            middle = reader.middle(images.contiguous(memory_format=torch.channels_last))
            maps.append(nn.functional.adaptive_avg_pool2d(middle, MIDDLE_SIDE).bfloat16())
            spreads.append(spread_of(middle[kind == 0].float()))
        kinds.append(kind)
    return Looks(maps=torch.cat(maps), kinds=torch.cat(kinds), spreads=torch.cat(spreads))


def teach(head: nn.Module, maps: Tensor, kinds: Tensor, *, seed: int) -> None:
    """Let the head learn what is what; in scope weighs as much as all the rest."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(maps) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1)
    head.train()
    for epoch in range(EPOCHS):
        losses = []
        for index in torch.randperm(len(maps)).split(BATCH)[: len(maps) // BATCH]:
            loss = cross_entropy(head(maps[index].float()), kinds[index], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)
    head.eval()


def remember(head: ScopeHead, known: Tensor) -> None:
    """Keep where the training radiographs lie: their mean, and what whitens their covariance."""
    covariance = torch.cov(known.T.double())
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * covariance.diagonal().diag()
    values, vectors = torch.linalg.eigh(covariance)
    head.mean.copy_(known.mean(0))
    head.whitening.copy_((vectors / values.clamp(min=1e-9).sqrt()).float())


def thresholds(reader: Reader, rows: Sequence[Radiograph], present: Presenting) -> dict[str, Any]:
    """Give the gate's two limits, such that few of these in-scope radiographs are refused."""
    within, distances = [], []
    for start in range(0, len(rows), BATCH):
        images = torch.stack([present(row) for row in rows[start : start + BATCH]])
        with torch.inference_mode():
            scope, distance = reader.scope(reader.middle(images))
        within.append(scope.softmax(1)[:, 0])
        distances.append(distance[:, 0])
    shares, far = torch.cat(within).double(), torch.cat(distances).double()
    return {
        "least_in_scope": round(float(shares.quantile(REFUSED_BY_HEAD)), 5),
        "largest_distance": round(ROOM * float(far.quantile(1 - FARTHEST)), 4),
        "chosen_on": "validation",
        "images": len(rows),
    }


def main(arguments: list[str] | None = None) -> None:
    """Teach, set the thresholds, publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", default="../../shared/data")
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--every", type=int, default=1, help="use every so manyth radiograph")
    given = parser.parse_args(arguments)
    rows = parts_of(given.data_dir, given.manifest)
    reader, present = configured("network"), presenting()
    trained_on = to_train(rows, repeats=REPEATS)[:: given.every]
    looks = look(reader, Pictures(trained_on, present, seed=SEED))
    teach(reader.scope.places, looks.maps, looks.kinds, seed=SEED)
    remember(reader.scope, looks.spreads)
    limits = thresholds(reader, held_as(rows, "validation"), present)
    publish(reader)
    write_metadata(read_metadata() | {"scope": limits})
    print(limits)


if __name__ == "__main__":
    main()
