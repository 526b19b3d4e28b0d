"""Measure speed, memory and accuracy of several ways to run the network on this machine.

Run `python -m scripts.evaluation.benchmark --output COST.JSON` from the bundle's folder, on an
otherwise idle machine. All variants run the same weights on the same images, in turns, so that
other load affects all of them; reported are medians, and medians of each round's ratio to plain
float32. A multiplication and an addition count as two floating point operations.
"""

import argparse
import copy
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from operator import truediv
from pathlib import Path
from typing import Any, Final

_STARTED: Final = time.perf_counter()  # the imports that follow are part of the start-up

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from scripts.bundle.files import read_config  # noqa: E402
from scripts.data.manifest import public_sets, rows_of_part  # noqa: E402
from scripts.network.batchnorm_folding import fold_batchnorm, to_channels_last  # noqa: E402
from scripts.postprocessing.calibration import PlattScaled  # noqa: E402

IMPORT_SECONDS: Final = time.perf_counter() - _STARTED
BATCHES: Final = (1, 32)
EXACT: Final = 1e-3  # largest difference in probability of a variant that counts as exact
BASE: Final = "float32"  # the variant that the others are compared with
STAGES: Final = ("import", "load", "first_answer")
DATA: Final = "../../shared/data"
SAMPLES: Final = "../service/demo/samples"
SEED: Final = 20240611

MOST_GFLOP: Final = 5.5  # an image may cost
MOST_STORED: Final = 40 << 20  # bytes of the weights' file, what a repository should carry

Forward = Callable[[Tensor], Tensor]  # images BxCxHxW on the CPU to `logits_of` on the CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkedBundle:
    """The components of the bundle that are measured."""

    network: nn.Module
    is_trained: bool  # False where the shipped weights do not fit the network
    preprocessing: Callable[[dict[str, str]], dict[str, Tensor]]
    calibration: PlattScaled
    shape: tuple[int, ...]  # of a prepared radiograph, CxHxW
    seconds: float  # to load the bundle
    stored: int = 0  # bytes of the weights' file


def load_benchmarked(folder: Path) -> BenchmarkedBundle:
    """Read the configuration and the weights of the bundle in `folder`."""
    started = time.perf_counter()
    config = read_config(folder)
    network = config.get_parsed_content("network_def").eval()
    path = folder / str(config["_meta_"]["weights"]["path"])
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        is_trained = True
    except (OSError, RuntimeError):
        is_trained = False
    seconds = time.perf_counter() - started
    preprocessing = config.get_parsed_content("preprocessing")
    return BenchmarkedBundle(
        network=network,
        is_trained=is_trained,
        preprocessing=preprocessing,
        calibration=PlattScaled(
            "pred",
            temperature=config["_meta_"]["calibration"]["temperature"],
            bias=config["_meta_"]["calibration"]["bias"],
        ),
        shape=(1, *config["spatial_size"]),
        seconds=seconds,
        stored=path.stat().st_size if path.exists() else 0,
    )


def logits_of(outputs: Tensor | dict[str, Tensor]) -> Tensor:
    """Return the logits of a network's outputs: Bx1, or Bx2 with one of another abnormality."""
    if not isinstance(outputs, dict):
        return outputs
    return torch.cat([outputs[name] for name in ("pred", "other") if name in outputs], dim=1)


def float32(network: nn.Module) -> Forward:
    """Run the network unchanged."""
    return lambda images: logits_of(network(images))


def channels_last(network: nn.Module) -> Forward:
    """Store the channels of a pixel next to each other, the fastest layout on a CPU."""
    network = to_channels_last(network)
    return lambda images: logits_of(network(images.contiguous(memory_format=torch.channels_last)))


def batchnorm_folded(network: nn.Module) -> Forward:
    """Fold the batch normalisations, channels last."""
    return channels_last(fold_batchnorm(network))


def frozen(network: nn.Module) -> Forward:
    """Trace, freeze and optimise with TorchScript, which torch has deprecated; channels last."""
    network = to_channels_last(network)
    # by size, because tracing makes the padding a constant
    traced: dict[torch.Size, Callable[[Tensor], Tensor | dict[str, Tensor]]] = {}

    def forward(images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        size = images.shape[1:]
        if size not in traced:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                script = torch.jit.freeze(torch.jit.trace(network, images, strict=False))
                traced[size] = torch.jit.optimize_for_inference(script)
        return logits_of(traced[size](images))

    return forward


def bfloat16(network: nn.Module) -> Forward:
    """Multiply in bfloat16, channels last."""
    forward = channels_last(network)

    def halved(images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(images).float()

    return halved


def batchnorm_folded_bfloat16(network: nn.Module) -> Forward:
    """Fold the batch normalisations and multiply in bfloat16, channels last."""
    return bfloat16(fold_batchnorm(network))


def cuda(network: nn.Module) -> Forward:
    """Run folded float32 on the GPU, including the transfers."""
    network = to_channels_last(fold_batchnorm(network).to("cuda"))
    return lambda images: logits_of(
        network(images.to("cuda", memory_format=torch.channels_last))
    ).cpu()


def cuda_bfloat16(network: nn.Module) -> Forward:
    """Run folded bfloat16 on the GPU, including the transfers."""
    forward = cuda(network)

    def halved(images: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return forward(images).float()

    return halved


Variants = dict[str, Callable[[nn.Module], Forward]]
# By the names that docs/cost.json uses.
ON_CPU: Final[Variants] = {
    BASE: float32,
    "channels_last": channels_last,
    "fold": batchnorm_folded,
    "frozen": frozen,
    "bfloat16": bfloat16,
    "folded_bfloat16": batchnorm_folded_bfloat16,
}
ON_GPU: Final[Variants] = {"cuda": cuda, "cuda_bfloat16": cuda_bfloat16}


def available_variants() -> Variants:
    """Return the variants that this machine can run, by name, plain float32 first."""
    return ON_CPU | (ON_GPU if torch.cuda.is_available() else {})


def _forwards(network: nn.Module, variants: Variants) -> dict[str, Forward]:
    return {name: variant(copy.deepcopy(network)) for name, variant in variants.items()}


def prepare_inputs(
    bundle: BenchmarkedBundle, count: int, data_dir: Path, samples: Path
) -> tuple[str, Tensor]:
    """Return a description of `count` prepared images, and the images, NxCxHxW.

    They are radiographs of the validation part where `data_dir` exists, else the demonstration
    instances with random contrast and noise.
    """
    if data_dir.is_dir():
        rows = rows_of_part(public_sets(data_dir, seed=SEED), "validation")
        chosen = random.Random(SEED).sample(rows, min(count, len(rows)))
        images = [bundle.preprocessing({"image": row["image"]})["image"] for row in chosen]
        return "radiographs of the validation part", torch.stack(images)
    paths = sorted(samples.glob("*.dcm"))
    images = [bundle.preprocessing({"image": str(path)})["image"] for path in paths]
    repeated = torch.stack([images[index % len(images)] for index in range(count)])
    generator = torch.Generator().manual_seed(SEED)
    gain = 0.5 + torch.rand(count, 1, 1, 1, generator=generator)
    noise = 0.1 * torch.randn(repeated.shape, generator=generator)
    return "demonstration instances, changed", (repeated * gain + noise).clamp(-1, 1)


def probability_differences(bundle: BenchmarkedBundle, images: Tensor) -> dict[str, float]:
    """Return each variant's largest |difference in probability| from float32 over `images`.

    The probability of another abnormality counts as well, on the scale of the first.
    """
    found: dict[str, Tensor] = {}
    with torch.inference_mode():
        for name, forward in _forwards(bundle.network, available_variants()).items():
            logits = torch.cat([forward(batch) for batch in images.split(max(BATCHES))])
            found[name] = torch.sigmoid(bundle.calibration({"pred": logits})["pred"])
    plain = next(iter(found.values()))
    return {
        name: float((probabilities - plain).abs().max()) for name, probabilities in found.items()
    }


# From variant, threads and batch size to the seconds per image of each round.
Seconds = dict[tuple[str, int, int], list[float]]


def time_variants(
    bundle: BenchmarkedBundle,
    rounds: int,
    progress: Callable[[str], None],
    variants: Variants | None = None,
) -> Seconds:
    """Time every variant in turns, with one thread and with all, with small and large batches.

    Args:
        bundle: the network, and the shape of its input.
        rounds: the number of measurements of each case.
        progress: called with a message per round.
        variants: those to time; all that are available if None.
    """
    forwards = _forwards(bundle.network, variants or available_variants())
    all_threads = torch.get_num_threads()
    order = random.Random(SEED)
    seconds: Seconds = defaultdict(list)
    try:
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for threads, batch in product(sorted({1, all_threads}), BATCHES):
                torch.set_num_threads(threads)
                images = torch.rand(batch, *bundle.shape) * 2 - 1
                for name in order.sample(list(forwards), len(forwards)):
                    seconds[name, threads, batch].append(_time(forwards[name], images))
    finally:
        torch.set_num_threads(all_threads)
    return dict(seconds)


def _time(forward: Forward, images: Tensor) -> float:
    """Return the seconds per image, after one call to warm up."""
    calls = max(1, max(BATCHES) // 2 // len(images))
    with torch.inference_mode():
        forward(images)
        started = time.perf_counter()
        for _ in range(calls):
            forward(images)
    return (time.perf_counter() - started) / calls / len(images)


def measure_startup(variant: str) -> dict[str, float]:
    """Measure start-up time and memory of this process for one variant."""
    bundle = load_benchmarked(Path())
    started = time.perf_counter()
    forward = available_variants()[variant](bundle.network)
    peaks = []
    with torch.inference_mode():
        for batch in BATCHES:
            forward(torch.zeros(batch, *bundle.shape))
            if batch == BATCHES[0]:
                first = time.perf_counter() - started
            peaks.append(_peak_mib())
    found = {f"peak_mib_batch_{batch}": peak for batch, peak in zip(BATCHES, peaks, strict=True)}
    if variant.startswith("cuda"):
        found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return {
        "import_seconds": IMPORT_SECONDS,
        "load_seconds": bundle.seconds,
        "first_answer_seconds": first,
        **found,
    }


def _peak_mib() -> float:
    """Return the peak memory of this process in MiB."""
    status = Path("/proc/self/status")  # getrusage includes the parent's before the exec
    if status.exists():
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024  # from kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _startup_medians(variant: str, rounds: int) -> dict[str, float]:
    command = [sys.executable, "-m", "scripts.evaluation.benchmark", "--probe", variant]
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return {name: round(statistics.median(each[name] for each in found), 2) for name in found[0]}


def summarise(seconds: Seconds, variant: str) -> dict[str, dict[str, float]]:
    """Return a variant's median images per second and its median ratio to plain float32."""
    rates, ratios = {}, {}
    for (name, threads, batch), taken in seconds.items():
        if name != variant:
            continue
        case = f"threads_{threads}_batch_{batch}"
        rates[case] = round(1 / statistics.median(taken), 1)
        plain = seconds[BASE, threads, batch]
        ratios[case] = round(statistics.median(map(truediv, plain, taken)), 2)
    return {"images_per_second": rates, "ratio": ratios}


def fastest_exact(found: dict[str, dict[str, Any]]) -> str:
    """Return the variant with the largest mean ratio among the exact ones."""
    exact = {name: each for name, each in found.items() if each["largest_difference"] <= EXACT}
    return max(exact, key=lambda name: statistics.geometric_mean(exact[name]["ratio"].values()))


def run_benchmark(rounds: int, count: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure the bundle in the current folder with every available variant."""
    bundle = load_benchmarked(Path())
    what, images = prepare_inputs(bundle, count, Path(DATA), Path(SAMPLES))
    progress(f"differences over {len(images)} {what}")
    differences = probability_differences(bundle, images)
    seconds = time_variants(bundle, rounds, progress)
    found: dict[str, dict[str, Any]] = {}
    for name, variant in available_variants().items():
        progress(f"memory and start-up of {name}")
        found[name] = {
            "what": (variant.__doc__ or "").strip(),
            "largest_difference": float(f"{differences[name]:.1e}"),
            **summarise(seconds, name),
            **_startup_medians(name, min(rounds, 3)),
        }
    return {
        "machine": describe_machine(),
        "network": describe_network(bundle),
        "rounds": rounds,
        "inputs": {"what": what, "images": len(images)},
        "ways": found,
        "fastest_exact": fastest_exact(found),
    }


def describe_network(bundle: BenchmarkedBundle) -> dict[str, Any]:
    """Return the parameters and the operations per image, which do not depend on the machine."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        bundle.network(torch.zeros(1, *bundle.shape))
    return {
        "name": type(bundle.network).__name__,
        "weights": "as shipped" if bundle.is_trained else "random: those shipped do not fit",
        "input": list(bundle.shape),
        "parameters": _parameters(bundle.network),
        "parameters_of": {n: _parameters(part) for n, part in bundle.network.named_children()},
        "gflop_per_image": round(counter.get_total_flops() / 1e9, 3),
        "megabytes_stored": round(bundle.stored / 1e6, 1),
    }


def _parameters(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def describe_machine() -> dict[str, Any]:
    """Return processor, threads, GPU and torch version, on which the figures depend."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return {
        "processor": models[0] if models else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


def markdown_table(result: dict[str, Any]) -> str:
    """Return `result` as a Markdown table: images per second (ratio to plain float32)."""
    cases = list(result["ways"][BASE]["ratio"])
    head = [
        "variant",
        *(case.replace("_", " ") for case in cases),
        "difference",
        "MiB",
        "first answer",
    ]
    lines = [head, ["---"] * len(head)]
    for name, each in result["ways"].items():
        lines.append(
            [
                name,
                *(f"{each['images_per_second'][c]} ({each['ratio'][c]:.2f})" for c in cases),
                f"{each['largest_difference']:.1e}",
                f"{each[f'peak_mib_batch_{BATCHES[-1]}']:.0f}",
                f"{sum(each[f'{part}_seconds'] for part in STAGES):.1f} s",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="a JSON file for all figures")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=64, help="to compare the probabilities on")
    parser.add_argument("--probe", choices=available_variants(), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.probe:
        print(json.dumps(measure_startup(options.probe)))
        return
    result = run_benchmark(
        options.rounds, options.images, lambda text: print(text, file=sys.stderr)
    )
    network = result["network"]
    print(
        f"{network['name']}: {network['parameters']:,} parameters, {network['gflop_per_image']} "
        f"GFLOP an image of {network['input']} (a multiply-add is two; at most {MOST_GFLOP}), "
        f"{network['megabytes_stored']} MB (at most {MOST_STORED / 1e6:.1f}), weights "
        f"{network['weights']}; {result['machine']['processor']}, "
        f"torch {result['machine']['torch']}"
    )
    print(markdown_table(result))
    print(f"fastest with a difference of at most {EXACT:g}: {result['fastest_exact']}")
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
