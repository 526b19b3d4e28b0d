"""Train a network with several heads: a loop of its own, because no part of MONAI's would be left.

All films are bytes on the training's device and are augmented there in batches; the loss leaves out
what is not known; the schedule follows the clock where there is a limit of minutes. Each epoch is
measured on what is held out, its figures are appended to epochs.jsonl, and the complete state is
written, so that a run that was interrupted continues. The epoch of the best worst source is kept in
best.pt; settled.pt has its weights with the batch statistics of unchanged films.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm

from scripts.data.manifest import SEED
from scripts.training.handlers import (
    STATISTICS_IMAGES,
    moving_average,
    recompute_batch_statistics,
    save_atomically,
)
from scripts.training.heads.augmentation import BatchAugmentation
from scripts.training.heads.cache import Films, scaled
from scripts.training.heads.measure import areas_by_source, predict, worst_area
from scripts.training.heads.network import SeveralHeads
from scripts.training.heads.sampling import Split, cells_of, draw_batches

HEAD_WEIGHTS: Final = (1.0, 0.5, 0.5)  # of `table.HEADS`: the opacity is what is asked
WARM_UP: Final = 0.05  # share of the schedule in which the learning rate rises
SMOOTHING: Final = 0.02  # labels are 0.01 and 0.99: some are wrong
LARGEST_GRADIENT: Final = 5.0
_MAY_CHANGE: Final = frozenset({"epochs", "minutes"})  # when a training continues


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a training is asked for."""

    seed: int = SEED
    epochs: int = 8
    steps: int = 120  # batches of an epoch
    batch_size: int = 48
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    average_decay: float = 0.99
    still_blocks: int = 3
    minutes: float | None = None  # after which it ends; measuring the last epoch comes on top

    def __post_init__(self) -> None:
        """Refuse what no training can be made of.

        Raises:
            ValueError: a number is too small.
        """
        for name in ("epochs", "steps", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the weighted mean of the heads' cross entropies, of logits and labels BxHEADS.

    What is not known, NaN, counts in no head; each head's mean is over what is.
    """
    is_known = ~labels.isnan()
    targets = labels.nan_to_num() * (1 - SMOOTHING) + SMOOTHING / 2
    losses = binary_cross_entropy_with_logits(logits, targets, reduction="none") * is_known
    means = losses.sum(0) / is_known.sum(0).clamp(min=1)
    weights = torch.tensor(HEAD_WEIGHTS, device=logits.device) * is_known.any(0)
    return (means * weights).sum() / weights.sum().clamp(min=min(HEAD_WEIGHTS))


def rate_at(progress: float) -> float:
    """Return the share of the learning rate at a share of the schedule: a rise, then a cosine."""
    if progress < WARM_UP:
        return max(progress, 1e-3) / WARM_UP
    return max(1e-3, (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2)


class Training:
    """One training and its folder.

    Args:
        films: a cache without test splits.
        split: what to train on and what to hold out.
        network: with the weights to start from.
        settings: of the training.
        folder: for checkpoint.pt, best.pt, settled.pt, epochs.jsonl and result.json.
        device: to train on.
        asked: further options, which a run that continues must have too.
    """

    def __init__(
        self,
        films: Films,
        split: Split,
        network: SeveralHeads,
        settings: Settings,
        *,
        folder: Path,
        device: torch.device,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        self.films, self.split, self.settings = films, split, settings
        self.folder, self.device = folder, device
        self.asked = {**asdict(settings), **(asked or {})}
        network.backbone.freeze(settings.still_blocks)
        # torch's stub of `to` lacks this overload
        self.network: SeveralHeads = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = moving_average(self.network, settings.average_decay)
        self.optimizer = torch.optim.AdamW(
            [each for each in network.parameters() if each.requires_grad],
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
        )
        self.batches = _Batches(films, split, device)
        self.state: dict[str, Any] = {"epoch": 0, "step": 0, "seconds": 0.0, "best": None}
        self.clock = time.monotonic()  # when `seconds` were last counted

    def run(self) -> dict[str, Any]:
        """Train until the epochs or the minutes are over, and return the figures of the best epoch.

        Raises:
            ValueError: the folder has a training with other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        self.clock = time.monotonic()
        while self.state["epoch"] < self.settings.epochs and not self._is_late():
            self._run_epoch()
        return self._settle()

    def _is_late(self) -> bool:
        self._count_seconds()
        minutes = self.settings.minutes
        return minutes is not None and self.state["seconds"] >= 60 * minutes

    def _count_seconds(self) -> None:
        now = time.monotonic()
        self.state["seconds"] += now - self.clock
        self.clock = now

    def _progress(self) -> float:
        """Return the share of the schedule that is behind: of the steps or of the time."""
        done = float(self.state["step"]) / (self.settings.epochs * self.settings.steps)
        if self.settings.minutes is not None:
            done = max(done, self.state["seconds"] / (60 * self.settings.minutes))
        return min(1.0, done)

    def _run_epoch(self) -> None:
        began = time.monotonic()
        epoch = self.state["epoch"] = self.state["epoch"] + 1
        losses = self._train_epoch(epoch)
        speed = len(losses) * self.settings.batch_size / (time.monotonic() - began)
        found = self._measure(self.average.module, is_fast=True)
        self._keep_if_best(worst_area(found))
        self._count_seconds()
        self._log(
            {
                "epoch": epoch,
                "seconds": round(self.state["seconds"]),
                "images_per_second": round(speed, 1),
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "loss": round(float(np.mean(losses)), 5),
                "worst": worst_area(found),
                "held_out": found,
            }
        )
        self._save()

    def _keep_if_best(self, worst: float | None) -> None:
        """Keep the averaged weights unless an earlier epoch had a better worst source."""
        best = self.state["best"]
        if best is None or (worst is not None and worst > best):
            self.state["best"] = worst
            save_atomically(self.average.module.state_dict(), self.folder / "best.pt")

    def _log(self, line: Mapping[str, Any]) -> None:
        with (self.folder / "epochs.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def _train_epoch(self, epoch: int) -> list[float]:
        """Train for one epoch, or until the time is over, and return the losses."""
        seed = self.settings.seed
        torch.manual_seed(seed + epoch)  # of the dropout
        augment = BatchAugmentation(self.device, seed + epoch)
        drawn = self.batches.draw(self.settings, epoch)
        losses = []
        self.network.train()
        for images, labels, sources in tqdm(
            drawn, total=self.settings.steps, mininterval=30, ncols=80, desc=f"epoch {epoch}"
        ):
            losses.append(self._step(augment(images, sources), labels))
            if self._is_late():
                break
        return losses

    def _step(self, images: Tensor, labels: Tensor) -> float:
        rate = self.settings.learning_rate * rate_at(self._progress())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = self.network(images)
        loss = masked_loss(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.state["step"] += 1
        return float(loss.detach())

    def _measure(self, network: torch.nn.Module, *, is_fast: bool = False) -> dict[str, Any]:
        places = self.split.held_out
        scores = predict(network, self.films, places, self.device, is_fast=is_fast)
        return areas_by_source(self.films.table.take(places), scores)

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, value in self.asked.items():
            if name not in _MAY_CHANGE and saved["asked"].get(name) != value:
                raise ValueError(
                    f"{self.folder} has a training with {name} {saved['asked'].get(name)}, not "
                    f"{value}: name another folder"
                )
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.state = saved["state"]
        print(f"resumed after epoch {self.state['epoch']}", flush=True)

    def _save(self) -> None:
        saved = {name: part.state_dict() for name, part in self._parts().items()}
        saved |= {"state": self.state, "asked": self.asked}
        save_atomically(saved, self.folder / "checkpoint.pt")

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer}

    def _settle(self) -> dict[str, Any]:
        """Measure the batch statistics of the best epoch anew, and then the network once more."""
        items = self.batches.unchanged(self.settings.seed)
        state = recompute_batch_statistics(
            self.network, self.folder / "best.pt", items, seed=self.settings.seed
        )
        save_atomically(state, self.folder / "settled.pt")
        found = self._measure(self.network)
        result = {"asked": self.asked, "worst": worst_area(found), "held_out": found}
        (self.folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
        return result


class _Batches:
    """Balanced batches of the films to train on; on a GPU all films are kept there."""

    def __init__(self, films: Films, split: Split, device: torch.device) -> None:
        self.films, self.device = films, device
        self.cells = cells_of(films.table, split.seen)
        self.labels = torch.from_numpy(films.table.labels).to(device)
        _, numbers = np.unique(films.table.source, return_inverse=True)
        self.sources = torch.from_numpy(numbers).to(device)
        self.levels: Tensor | None = None
        if device.type != "cpu":
            self.levels = torch.from_numpy(films.levels[films.places]).to(device)

    def draw(self, settings: Settings, epoch: int) -> Any:  # noqa: ANN401 -- a generator of three tensors
        """Yield images, labels and the sources' numbers, the same for the same seed and epoch."""
        drawn = draw_batches(
            self.cells,
            size=settings.batch_size,
            steps=settings.steps,
            seed=(settings.seed, epoch),
        )
        for places in drawn:
            index = torch.from_numpy(places).to(self.device)
            yield self._images(places, index), self.labels[index], self.sources[index]

    def _images(self, places: Any, index: Tensor) -> Tensor:  # noqa: ANN401 -- an array of places
        if self.levels is None:
            return self.films.images(places)
        return scaled(self.levels[index])[:, None]

    def unchanged(self, seed: int) -> Sequence[Mapping[str, Any]]:
        """Return balanced films as they are, as items of a data set."""
        [places] = draw_batches(self.cells, size=STATISTICS_IMAGES, steps=1, seed=(seed, 0))
        return [{"image": self.films.images(places[[k]])[0]} for k in range(len(places))]
