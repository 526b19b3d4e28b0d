"""The handlers of a training: best epoch, checkpoint, batch statistics."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from scripts.training.handlers import (
    BestEpochHandler,
    CheckpointHandler,
    moving_average,
    recompute_batch_statistics,
)


def evaluator_of(metrics: list[float]) -> Any:  # noqa: ANN401 -- what BestEpochHandler reads of an evaluator
    values = iter(metrics)

    class State:
        key_metric_name = "auc"

        @property
        def metrics(self) -> dict[str, float]:
            return {"auc": next(values)}

    return SimpleNamespace(state=State())


class ToyTraining:
    """A trainer of one weight that grows by one each epoch, with both handlers."""

    def __init__(self, folder: Path, metrics: list[float], patience: int = 9) -> None:
        self.network = torch.nn.Linear(1, 1, bias=False)
        self.network.weight.data.zero_()
        self.average = moving_average(self.network, decay=0.0)
        self.generator = torch.Generator().manual_seed(1)
        self.drawn: list[float] = []
        self.engine = Engine(self._step)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1.0)
        best = BestEpochHandler(
            evaluator=evaluator_of(metrics),
            average=self.average,
            path=folder / "best.pt",
            patience=patience,
        )
        best.attach(self.engine)
        self.best = best
        CheckpointHandler(
            network=self.network,
            average=self.average,
            optimizer=self.optimizer,
            schedule=torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda _: 1.0),
            best=best,
            generator=self.generator,
            path=folder / "checkpoint.pt",
        ).attach(self.engine)

    def _step(self, _: Engine, __: object) -> None:
        self.network.weight.grad = -torch.ones(1, 1)
        self.optimizer.step()
        self.drawn.append(float(torch.rand(1, generator=self.generator)))
        self.drawn.append(float(torch.rand(1)))

    def run(self, epochs: int) -> "ToyTraining":
        self.engine.run([0], max_epochs=epochs)
        return self


def kept(folder: Path) -> float:
    return float(torch.load(folder / "best.pt", weights_only=True)["weight"])


def test_the_best_epoch_is_saved_and_not_replaced_by_a_worse_one(tmp_path: Path) -> None:
    ToyTraining(tmp_path, [0.5, 0.9, 0.8]).run(3)
    assert kept(tmp_path) == 2


def test_best_epoch_and_random_generators_survive_an_interruption(
    tmp_path: Path,
) -> None:
    (tmp_path / "whole").mkdir()
    torch.manual_seed(3)
    whole = ToyTraining(tmp_path / "whole", [0.5, 0.9, 0.8, 0.7]).run(4)
    torch.manual_seed(3)
    first = ToyTraining(tmp_path, [0.5, 0.9]).run(2)
    torch.manual_seed(4)
    second = ToyTraining(tmp_path, [0.8, 0.7]).run(4)
    assert second.best.state == {"metric": 0.9, "epochs_since": 2}
    assert kept(tmp_path) == kept(tmp_path / "whole") == 2
    assert float(second.network.weight.detach()) == 4
    assert first.drawn + second.drawn == whole.drawn


def test_patience_ends_the_training_and_counts_across_an_interruption(tmp_path: Path) -> None:
    ToyTraining(tmp_path, [0.9, 0.8], patience=3).run(2)
    resumed = ToyTraining(tmp_path, [0.7, 0.6, 0.5], patience=3)
    ended = []
    resumed.engine.add_event_handler(Events.EPOCH_COMPLETED, lambda e: ended.append(e.state.epoch))
    resumed.run(9)
    assert ended == [3, 4]


def test_batch_statistics_are_recomputed_except_those_of_frozen_layers(
    tmp_path: Path,
) -> None:
    still, learning = torch.nn.BatchNorm2d(1), torch.nn.BatchNorm2d(1)

    class Network(torch.nn.Sequential):
        def train(self, mode: bool = True) -> "Network":  # noqa: FBT001, FBT002 -- torch's own
            super().train(mode)
            still.eval()
            return self

    network = Network(still, learning)
    torch.save(network.state_dict(), tmp_path / "best.pt")
    generator = torch.Generator().manual_seed(5)
    images = [{"image": 3 + 2 * torch.randn(1, 16, 16, generator=generator)} for _ in range(128)]
    found = recompute_batch_statistics(network, tmp_path / "best.pt", images, seed=1)
    assert float(found["0.running_mean"]) == 0
    assert float(found["1.running_mean"]) == pytest.approx(3, abs=0.05)
    assert float(found["1.running_var"]) == pytest.approx(4, rel=0.05)
    assert torch.equal(found["1.weight"], torch.ones(1))
    assert not network.training
