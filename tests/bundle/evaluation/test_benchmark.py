"""All variants of running the network are compared on one machine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
import torch
from scripts.evaluation import benchmark
from scripts.network.efficientnet_lite import EfficientNetLite
from scripts.postprocessing.calibration import PlattScaled
from synthetic.pictures import chest
from torch import Tensor, nn

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network() -> EfficientNetLite:
    """A network whose batch statistics and gains differ from those of a new one."""
    torch.manual_seed(4)
    network = EfficientNetLite()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
            part.momentum = 1.0  # one batch sets all statistics
    network.train()
    with torch.no_grad():
        network(images(8))
    return network.eval()


def images(count: int, side: int = 64) -> Tensor:
    image = torch.from_numpy(chest(side, side, 8) / 127.5 - 1).float()
    noise = 0.3 * torch.randn(count, 1, side, side)
    return (image.expand(count, 1, side, side) + noise).clamp(-1, 1)


def bundle_of(
    network: nn.Module, side: int = 32, *, is_trained: bool = False
) -> benchmark.BenchmarkedBundle:
    """A bundle of `network` for prepared images of `side` pixels."""
    return benchmark.BenchmarkedBundle(
        network=network,
        is_trained=is_trained,
        preprocessing=lambda row: cast("dict[str, Tensor]", row),
        calibration=PlattScaled("pred", temperature=2.0, bias=0.0),
        shape=(1, side, side),
        seconds=0.0,
    )


def test_every_variant_gives_the_same_probabilities_within_its_precision(
    network: EfficientNetLite,
) -> None:
    found = benchmark.probability_differences(bundle_of(network), images(5))
    assert list(found) == list(benchmark.available_variants())
    assert found["float32"] == 0
    for name in ("channels_last", "fold", "frozen"):
        assert found[name] < 1e-5, name
    assert 1e-6 < found["bfloat16"] < 0.2


def test_each_variant_is_timed_in_each_round_and_the_number_of_threads_is_restored() -> None:
    chosen = {name: benchmark.ON_CPU[name] for name in ("float32", "fold")}
    threads = torch.get_num_threads()
    messages: list[str] = []
    seconds = benchmark.time_variants(
        bundle_of(nn.Conv2d(1, 2, 3)), 2, messages.append, variants=chosen
    )
    assert messages == ["round 1 of 2", "round 2 of 2"]
    assert set(seconds) == {
        (name, count, batch) for name in chosen for count in {1, threads} for batch in (1, 32)
    }
    assert all(len(taken) == 2 and min(taken) > 0 for taken in seconds.values())
    assert torch.get_num_threads() == threads


def test_the_summary_is_the_median_rate_and_the_median_of_the_rounds_ratios() -> None:
    seconds = {("float32", 1, 1): [0.1, 0.2, 0.4], ("fold", 1, 1): [0.05, 0.1, 0.1]}
    assert benchmark.summarise(seconds, "fold") == {
        "images_per_second": {"threads_1_batch_1": 10.0},
        "ratio": {"threads_1_batch_1": 2.0},
    }
    assert benchmark.summarise(seconds, "float32")["ratio"] == {"threads_1_batch_1": 1.0}


def test_the_fastest_is_chosen_among_the_exact_variants() -> None:
    def variant(difference: float, *ratios: float) -> dict[str, object]:
        return {"largest_difference": difference, "ratio": dict(enumerate(ratios))}

    found = {
        "float32": variant(0, 1, 1),
        "fold": variant(1e-6, 1.5, 1.5),
        "uneven": variant(1e-3, 4, 0.5),
        "half": variant(2e-3, 9, 9),
    }
    assert benchmark.fastest_exact(found) == "fold"
    assert (
        benchmark.fastest_exact({"float32": found["float32"], "half": found["half"]}) == "float32"
    )


def test_the_size_is_that_of_the_network(network: EfficientNetLite) -> None:
    described = benchmark.describe_network(bundle_of(network))
    assert described["parameters"] == sum(described["parameters_of"].values()) == 3_371_713
    assert described["weights"].startswith("random")
    one = bundle_of(nn.Conv2d(1, 2, 3, padding=1), side=1000, is_trained=True)
    assert (
        benchmark.describe_network(one)["gflop_per_image"] == 0.036
    )  # 2 maps of 10^6 places, 9 multiply-adds
    assert benchmark.describe_network(one)["weights"] == "as shipped"


def test_without_radiographs_the_demonstration_instances_are_varied(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    loaded = benchmark.load_benchmarked(Path())
    what, first = benchmark.prepare_inputs(loaded, 5, tmp_path / "none", Path(benchmark.SAMPLES))
    assert what == "demonstration instances, changed"
    assert first.shape == (5, *loaded.shape)
    assert (first.min(), first.max()) == (-1, 1)
    assert len({image.numpy().tobytes() for image in first}) == 5
    assert torch.equal(
        first, benchmark.prepare_inputs(loaded, 5, tmp_path / "none", Path(benchmark.SAMPLES))[1]
    )


def test_the_shipped_network_is_within_its_budget(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    loaded = benchmark.load_benchmarked(Path())
    found = benchmark.describe_network(loaded)
    assert found["weights"] == "as shipped"
    assert 0.5 < found["gflop_per_image"] <= benchmark.MOST_GFLOP
    assert 1 << 20 < loaded.stored <= benchmark.MOST_STORED
    assert found["megabytes_stored"] == pytest.approx(loaded.stored / 1e6, abs=0.05)


def test_the_probability_of_another_abnormality_counts_in_a_variants_difference() -> None:
    pred, other = torch.zeros(3, 1), torch.ones(3, 1)
    assert benchmark.logits_of(pred) is pred
    assert benchmark.logits_of({"pred": pred, "attention": pred}).shape == (3, 1)
    assert benchmark.logits_of({"other": other, "pred": pred}).tolist() == [[0, 1]] * 3


@pytest.mark.data
def test_radiographs_of_the_validation_part_are_chosen_by_the_seed(
    radiographs: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bundle)
    what, found = benchmark.prepare_inputs(
        benchmark.load_benchmarked(Path()), 3, radiographs, Path(benchmark.SAMPLES)
    )
    assert what == "radiographs of the validation part"
    assert len(found) == 3


def test_a_separate_process_measures_start_up_time_and_memory(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.evaluation.benchmark", "--probe", "fold"],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["import_seconds"] > 0.1
    assert 0 < measured["load_seconds"] < 60
    assert 0 < measured["first_answer_seconds"] < 60
    assert 100 < measured["peak_mib_batch_1"] < measured["peak_mib_batch_32"] < 4000


def test_the_table_has_a_line_for_each_variant() -> None:
    figures = {
        "images_per_second": {"threads_1_batch_1": 10.0},
        "ratio": {"threads_1_batch_1": 1.5},
        "largest_difference": 2e-6,
        "peak_mib_batch_32": 500.4,
        "import_seconds": 1.0,
        "load_seconds": 0.5,
        "first_answer_seconds": 0.25,
    }
    lines = benchmark.markdown_table({"ways": {"float32": figures, "fold": figures}}).splitlines()
    assert lines[0] == "| variant | threads 1 batch 1 | difference | MiB | first answer |"
    assert lines[3] == "| fold | 10.0 (1.50) | 2.0e-06 | 500 | 1.8 s |"
