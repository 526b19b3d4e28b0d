"""What training needs beside MONAI's own parts: half precision on a CPU, averaging, resuming."""

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from ignite.engine import Engine, Events
from ignite.handlers.tqdm_logger import ProgressBar
from monai.inferers import SimpleInferer
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SETTLING: Final = 1280  # radiographs that batch statistics are measured on


def as_batch(
    batch: dict[str, Any],
    device: str | torch.device | None = None,
    non_blocking: bool = False,  # noqa: FBT001, FBT002 -- the signature MONAI calls with
    **_: object,
) -> tuple[Tensor, Tensor]:
    """Give a loaded batch as images Bx1xHxW and labels Bx1 on `device`; MONAI's prepare_batch."""
    images = batch["image"].as_subclass(Tensor)
    labels = torch.as_tensor(batch["label"], dtype=torch.float32)[:, None]
    return (
        images.to(device, non_blocking=non_blocking),
        labels.to(device, non_blocking=non_blocking),
    )


class HalfPrecisionInferer(SimpleInferer):
    """Run the network under bfloat16 autocast with channels last; the logits come out float32.

    Three times as fast as float32 on a CPU with AVX-512 BF16. MONAI's `amp` is for CUDA alone.
    """

    def __call__(
        self, inputs: Tensor, network: torch.nn.Module, *args: object, **kwargs: object
    ) -> Tensor:
        """Give the network's logits Bx1 for `inputs`, Bx1xHxW."""
        inputs = inputs.as_subclass(Tensor).contiguous(memory_format=torch.channels_last)
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
            return network(inputs, *args, **kwargs).float()


def averaged(network: torch.nn.Module, decay: float) -> AveragedModel:
    """Give the running average of a network's weights and batch statistics."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


class Best:
    """Keep the average of the best epoch, and stop when `patience` epochs brought nothing better.

    Follows a trainer after its validation; better is a higher key metric of the evaluator. What it
    knows goes into the checkpoint, so that an interruption forgets neither.
    """

    def __init__(
        self, *, evaluator: Engine, average: AveragedModel, path: str | Path, patience: int
    ) -> None:
        self.evaluator = evaluator
        self.average = average
        self.path = Path(path)
        self.patience = patience
        self.known = {"metric": float("-inf"), "epochs_since": 0}

    def attach(self, engine: Engine) -> None:
        """Follow `engine`, the trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._compare)

    def _compare(self, engine: Engine) -> None:
        metric = float(self.evaluator.state.metrics[self.evaluator.state.key_metric_name])
        if metric > self.known["metric"]:
            self.known = {"metric": metric, "epochs_since": 0}
            _save(self.average.module.state_dict(), self.path)
            return
        self.known["epochs_since"] += 1
        if self.known["epochs_since"] >= self.patience:
            print(f"no better for {self.patience} epochs: that is enough", flush=True)
            engine.terminate()


class Course:
    """Keep a training on course: average and schedule every step, remember every epoch.

    After each epoch everything that training needs to go on is written to `path` (aside, then
    renamed), the states of chance included; at the start it is read back, if it is there.
    """

    def __init__(
        self,
        *,
        network: torch.nn.Module,
        average: AveragedModel,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        best: Best,
        chance: torch.Generator,
        path: str | Path,
    ) -> None:
        self.network = network
        self.average = average
        self.schedule = schedule
        self.best = best
        self.chance = chance
        self.path = Path(path)
        self.parts = {"network": network, "average": average, "optimizer": optimizer}

    def attach(self, engine: Engine) -> None:
        """Follow `engine`, the trainer; its last follower, so that it remembers what all did."""
        engine.add_event_handler(Events.STARTED, self._resume)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._remember)

    def _resume(self, engine: Engine) -> None:
        if not self.path.exists():
            return
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        self.schedule.last_epoch = saved["iteration"]  # so that more epochs may be asked for
        self.best.known = saved["best"]
        self.chance.set_state(saved["chance"])
        torch.set_rng_state(saved["order"])
        engine.state.epoch = saved["epoch"]
        engine.state.iteration = saved["iteration"]
        print(f"resumed after epoch {saved['epoch']}", flush=True)

    def _step(self, _: Engine) -> None:
        self.average.update_parameters(self.network)
        self.schedule.step()

    def _remember(self, engine: Engine) -> None:
        saved = {name: part.state_dict() for name, part in self.parts.items()}
        saved |= {"epoch": engine.state.epoch, "iteration": engine.state.iteration}
        saved |= {"best": self.best.known, "chance": self.chance.get_state()}
        _save(saved | {"order": torch.get_rng_state()}, self.path)


def _save(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    torch.save(content, aside)
    aside.replace(path)


class Progress(ProgressBar):
    """Show how far an epoch is; a line every half minute where nobody watches a terminal."""

    def __init__(self) -> None:
        watched = sys.stderr.isatty()
        super().__init__(persist=True, mininterval=0.5 if watched else 30, ncols=80)


class EpochLog:
    """Append one CSV line an epoch: what the trainer lost, what the evaluator measured."""

    def __init__(self, path: str | Path, evaluator: Engine) -> None:
        self.path = Path(path)
        self.evaluator = evaluator
        self._losses: list[float] = []
        self._started = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Follow `engine`, a trainer whose validation handler runs the evaluator."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._note_loss)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._write)

    def _note_loss(self, engine: Engine) -> None:
        self._losses.append(float(engine.state.output["loss"].detach()))

    def _write(self, engine: Engine) -> None:
        row = {
            "epoch": engine.state.epoch,
            "seconds": round(time.monotonic() - self._started),
            "learning_rate": f"{engine.optimizer.param_groups[0]['lr']:.3e}",
            "train_loss": f"{sum(self._losses) / max(1, len(self._losses)):.5f}",
            **{f"validation_{k}": f"{v:.5f}" for k, v in self.evaluator.state.metrics.items()},
        }
        self._losses.clear()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        print(" ".join(f"{name}={value}" for name, value in row.items()), flush=True)


def settled(
    network: torch.nn.Module, weights: str | Path, images: Sequence[Mapping[str, Any]], *, seed: int
) -> dict[str, Tensor]:
    """Give the tensors of `weights` with batch statistics of radiographs as they are.

    Training measured them on images that `augment` had changed, and on weights that were not yet
    averaged: the logits of true inputs were off by about one. What holds still stays as it is.
    `images` are loaded items of a data set, 1xHxW each; at most `SETTLING` of them are used, drawn
    by the seed.
    """
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    for part in network.train().modules():
        if isinstance(part, torch.nn.BatchNorm2d) and part.training:
            part.reset_running_stats()
            part.momentum = None  # the plain mean over all batches
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    device = next(network.parameters()).device
    with torch.no_grad():
        for few in chosen[:SETTLING].split(64):
            batch = torch.stack([torch.as_tensor(images[int(k)]["image"]) for k in few])
            network(batch.to(device, memory_format=torch.channels_last))
    return {name: tensor.cpu() for name, tensor in network.eval().state_dict().items()}
