"""What an answer costs: the same function folded, the same answer every way, figures that fit."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peers.pictures import chest
from scripts.evaluation import benchmark as cost
from scripts.network.batchnorm_folding import folded
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.postprocessing.calibration import PlattScaled
from torch import Tensor, nn


@pytest.fixture(scope="module")
def network() -> EfficientNetLite:
    """A network whose batch statistics and gains are those of no fresh one."""
    torch.manual_seed(4)
    network = EfficientNetLite()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
            part.momentum = 1.0  # one batch tells it all
    network.train()
    with torch.no_grad():
        network(images(8))
    return network.eval()


def images(count: int, side: int = 64) -> Tensor:
    picture = torch.from_numpy(chest(side, side, 8) / 127.5 - 1).float()
    noise = 0.3 * torch.randn(count, 1, side, side)
    return (picture.expand(count, 1, side, side) + noise).clamp(-1, 1)


@pytest.mark.parametrize("side", [64, 97])
def test_a_folded_network_gives_the_same_logits_and_has_nothing_left_to_fold(
    network: EfficientNetLite, side: int
) -> None:
    given = images(4, side)
    exact = copy.deepcopy(network).double()
    with torch.inference_mode():
        wanted, found = network(given), folded(network)(given)
        torch.testing.assert_close(
            folded(exact)(given.double()), exact(given.double()), atol=1e-10, rtol=1e-10
        )
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found.sigmoid(), wanted.sigmoid(), atol=1e-5, rtol=0)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded(network).modules())


def test_folding_leaves_the_network_as_it_was_and_learns_nothing(
    network: EfficientNetLite,
) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    copied = folded(network)
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert not any(part.training for part in copied.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in before.items()
    }
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_in_training_is_folded_as_it_would_answer(network: EfficientNetLite) -> None:
    given = images(2)
    wanted = network(given)
    try:
        found = folded(network.train())(given)
        assert network.training
    finally:
        network.eval()
    torch.testing.assert_close(found.sigmoid(), wanted.sigmoid(), atol=1e-5, rtol=0)


def test_folded_bfloat16_keeps_its_shifts_outside_of_inference_mode_too(
    network: EfficientNetLite,
) -> None:
    given = images(4)
    with torch.autocast("cpu", torch.bfloat16):
        found = folded(network)(given).float()
    with torch.inference_mode():
        assert (found - network(given)).abs().max() < 0.2


def test_what_stands_in_another_order_is_not_folded() -> None:
    torch.manual_seed(5)
    before = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3))
    after = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4))
    whole = nn.Sequential(before, after).train()
    for _ in range(9):
        whole(torch.rand(4, 2, 8, 8))
    given = torch.rand(4, 2, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(folded(whole)(given), whole.eval()(given))
    left = [part for part in folded(whole).modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(left) == 3


def bundle_of(network: nn.Module, side: int = 32, *, is_trained: bool = False) -> cost.Bundle:
    """A bundle of `network` for prepared pictures of `side` pixels."""
    return cost.Bundle(
        network=network,
        is_trained=is_trained,
        prepare=lambda row: row,
        calibration=PlattScaled("pred", temperature=2.0, bias=0.0),
        shape=(1, side, side),
        seconds=0.0,
    )


def test_every_way_gives_the_same_answer_as_far_as_it_says(network: EfficientNetLite) -> None:
    found = cost.differences(bundle_of(network), images(5))
    assert list(found) == list(cost.ways())
    assert found["float32"] == 0
    for name in ("channels_last", "fold", "frozen"):
        assert found[name] < 1e-5, name
    assert 1e-6 < found["bfloat16"] < 0.2


def test_each_way_is_timed_in_each_round_and_the_threads_are_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = {"float32": cost.float32, "fold": cost.fold}
    monkeypatch.setattr(cost, "ways", lambda: chosen)
    threads = torch.get_num_threads()
    told: list[str] = []
    seconds = cost.race(bundle_of(nn.Conv2d(1, 2, 3)), 2, told.append)
    assert told == ["round 1 of 2", "round 2 of 2"]
    assert set(seconds) == {
        (name, count, batch) for name in chosen for count in {1, threads} for batch in (1, 32)
    }
    assert all(len(taken) == 2 and min(taken) > 0 for taken in seconds.values())
    assert torch.get_num_threads() == threads


def test_what_is_told_is_the_median_and_the_median_of_the_rounds_ratios() -> None:
    seconds = {("float32", 1, 1): [0.1, 0.2, 0.4], ("fold", 1, 1): [0.05, 0.1, 0.1]}
    assert cost.summary(seconds, "fold") == {
        "images_per_second": {"threads_1_batch_1": 10.0},
        "ratio": {"threads_1_batch_1": 2.0},
    }
    assert cost.summary(seconds, "float32")["ratio"] == {"threads_1_batch_1": 1.0}


def test_the_fastest_is_chosen_among_those_that_answer_alike() -> None:
    def way(difference: float, *ratios: float) -> dict[str, object]:
        return {"largest_difference": difference, "ratio": dict(enumerate(ratios))}

    found = {
        "float32": way(0, 1, 1),
        "fold": way(1e-6, 1.5, 1.5),
        "uneven": way(1e-3, 4, 0.5),
        "half": way(2e-3, 9, 9),
    }
    assert cost.fastest_exact(found) == "fold"
    assert cost.fastest_exact({"float32": found["float32"], "half": found["half"]}) == "float32"


def test_the_size_is_that_of_the_network(network: EfficientNetLite) -> None:
    told = cost.size(bundle_of(network))
    assert told["parameters"] == sum(told["parameters_of"].values()) == 3_371_713
    assert told["weights"].startswith("random")
    one = bundle_of(nn.Conv2d(1, 2, 3, padding=1), side=1000, is_trained=True)
    assert cost.size(one)["gflop_per_image"] == 0.036  # 2 maps of 10^6 places, 9 multiply-adds
    assert cost.size(one)["weights"] == "as shipped"


def test_without_radiographs_the_demonstration_instances_are_varied(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    loaded = cost.load(Path())
    what, first = cost.inputs(loaded, 5, tmp_path / "none", Path(cost.SAMPLES))
    assert what == "demonstration instances, changed"
    assert first.shape == (5, *loaded.shape)
    assert (first.min(), first.max()) == (-1, 1)
    assert len({picture.numpy().tobytes() for picture in first}) == 5
    assert torch.equal(first, cost.inputs(loaded, 5, tmp_path / "none", Path(cost.SAMPLES))[1])


@pytest.mark.data
def test_radiographs_of_the_validation_part_are_taken_by_seed(
    radiographs: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    what, found = cost.inputs(cost.load(Path()), 3, radiographs, Path(cost.SAMPLES))
    assert what == "radiographs of the validation part"
    assert len(found) == 3


def test_a_process_of_its_own_tells_what_it_needed_to_the_first_answer(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.evaluation.benchmark", "--probe", "fold"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["import_seconds"] > 0.1
    assert 0 < told["load_seconds"] < 60
    assert 0 < told["first_answer_seconds"] < 60
    assert 100 < told["peak_mib_batch_1"] < told["peak_mib_batch_32"] < 4000


def test_the_table_has_a_line_for_each_way() -> None:
    way = {
        "images_per_second": {"threads_1_batch_1": 10.0},
        "ratio": {"threads_1_batch_1": 1.5},
        "largest_difference": 2e-6,
        "peak_mib_batch_32": 500.4,
        "import_seconds": 1.0,
        "load_seconds": 0.5,
        "first_answer_seconds": 0.25,
    }
    lines = cost.table({"ways": {"float32": way, "fold": way}}).splitlines()
    assert lines[0] == "| way | threads 1 batch 1 | difference | MiB | first answer |"
    assert lines[3] == "| fold | 10.0 (1.50) | 2.0e-06 | 500 | 1.8 s |"
