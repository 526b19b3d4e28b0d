"""What an answer costs on this machine, several ways.

Run it as `python -m scripts.evaluation.benchmark --output COST.JSON`.

All ways run the same weights on the same radiographs, by turns in rounds, so that a busy machine is
busy for all of them; what is told are medians, and medians of each round's ratio to plain float32.
A multiplication and an addition count as two floating point operations. Run it from the bundle's
folder, on an otherwise idle machine.
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

_BEGUN: Final = time.perf_counter()  # the imports that follow are a part of the cost

import torch  # noqa: E402
from monai.bundle.config_parser import ConfigParser  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from scripts.data.manifest import held_as, public  # noqa: E402
from scripts.network.batchnorm_folding import folded  # noqa: E402
from scripts.postprocessing.calibration import PlattScaled  # noqa: E402

IMPORT_SECONDS: Final = time.perf_counter() - _BEGUN
BATCHES: Final = (1, 32)
EXACT: Final = 1e-3  # the largest difference in probability that still counts as the same answer
BASE: Final = "float32"
STAGES: Final = ("import", "load", "first_answer")
DATA: Final = "../../shared/data"
SAMPLES: Final = "../tests/samples"
SEED: Final = 20240611

Forward = Callable[[Tensor], Tensor]  # images BxCxHxW on the CPU to logits Bx1 on the CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What of the bundle's configuration is measured."""

    network: nn.Module
    is_trained: bool  # False where the shipped weights do not fit the network
    prepare: Callable[[dict[str, str]], dict[str, Tensor]]
    calibration: PlattScaled
    shape: tuple[int, ...]  # of a prepared radiograph, CxHxW
    seconds: float  # to load it


def load(folder: Path) -> Bundle:
    """Read the configuration and the weights of the bundle in `folder`."""
    begun = time.perf_counter()
    config = ConfigParser()
    config.read_meta(str(folder / "configs" / "metadata.json"))
    config.read_config(str(folder / "configs" / "inference.yaml"))
    config["bundle_root"] = str(folder)
    network = config.get_parsed_content("network_def").eval()
    path = folder / str(config["_meta_"]["weights"]["path"])
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        is_trained = True
    except (OSError, RuntimeError):
        is_trained = False
    seconds = time.perf_counter() - begun
    steps = config.get_parsed_content("preprocessing")
    size = next(s.spatial_size for s in steps.transforms if hasattr(s, "spatial_size"))
    return Bundle(
        network=network,
        is_trained=is_trained,
        prepare=steps,
        calibration=PlattScaled(
            "pred",
            temperature=config["_meta_"]["calibration"]["temperature"],
            bias=config["_meta_"]["calibration"]["bias"],
        ),
        shape=(1, *size),
        seconds=seconds,
    )


def logits_of(answer: Tensor | dict[str, Tensor]) -> Tensor:
    """Give the logits Bx1 of an answer that may tell more."""
    return answer["pred"] if isinstance(answer, dict) else answer


def float32(network: nn.Module) -> Forward:
    """Run the network as it is."""
    return lambda images: logits_of(network(images))


def channels_last(network: nn.Module) -> Forward:
    """Let the channels of a pixel lie side by side, as the CPU's kernels want them."""
    network = network.to(memory_format=torch.channels_last)
    return lambda images: logits_of(network(images.contiguous(memory_format=torch.channels_last)))


def fold(network: nn.Module) -> Forward:
    """Fold the batch normalisations, channels last."""
    return channels_last(folded(network))


def frozen(network: nn.Module) -> Forward:
    """Trace, freeze and optimise with TorchScript, which torch has deprecated; channels last."""
    network = network.to(memory_format=torch.channels_last)
    traced: dict[
        torch.Size, Callable[[Tensor], Tensor | dict[str, Tensor]]
    ] = {}  # by size: tracing takes the padding for a constant

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


def folded_bfloat16(network: nn.Module) -> Forward:
    """Fold the batch normalisations and multiply in bfloat16, channels last."""
    return bfloat16(folded(network))


def cuda(network: nn.Module) -> Forward:
    """Run folded float32 on the GPU; the way there and back counts."""
    network = folded(network).to("cuda", memory_format=torch.channels_last)
    return lambda images: logits_of(
        network(images.to("cuda", memory_format=torch.channels_last))
    ).cpu()


def cuda_bfloat16(network: nn.Module) -> Forward:
    """Run folded bfloat16 on the GPU; the way there and back counts."""
    forward = cuda(network)

    def halved(images: Tensor) -> Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return forward(images).float()

    return halved


ON_CPU: Final = (float32, channels_last, fold, frozen, bfloat16, folded_bfloat16)
ON_GPU: Final = (cuda, cuda_bfloat16)


def ways() -> dict[str, Callable[[nn.Module], Forward]]:
    """Give the ways that this machine has, by name; the plain one is the first."""
    found = ON_CPU + (ON_GPU if torch.cuda.is_available() else ())
    return {way.__name__: way for way in found}


def _named(network: nn.Module) -> dict[str, Forward]:
    return {name: way(copy.deepcopy(network)) for name, way in ways().items()}


def inputs(bundle: Bundle, count: int, data_dir: Path, samples: Path) -> tuple[str, Tensor]:
    """Give `count` prepared images NxCxHxW and what they are.

    Radiographs of the validation part where they are at hand; else the demonstration instances
    with other tones, noise and places.
    """
    if data_dir.is_dir():
        rows = held_as(public(data_dir, seed=SEED), "validation")
        chosen = random.Random(SEED).sample(rows, min(count, len(rows)))
        images = [bundle.prepare({"image": row["image"]})["image"] for row in chosen]
        return "radiographs of the validation part", torch.stack(images)
    paths = sorted(samples.glob("*.dcm"))
    images = [bundle.prepare({"image": str(path)})["image"] for path in paths]
    repeated = torch.stack([images[index % len(images)] for index in range(count)])
    chance = torch.Generator().manual_seed(SEED)
    gain = 0.5 + torch.rand(count, 1, 1, 1, generator=chance)
    noise = 0.1 * torch.randn(repeated.shape, generator=chance)
    return "demonstration instances, changed", (repeated * gain + noise).clamp(-1, 1)


def differences(bundle: Bundle, images: Tensor) -> dict[str, float]:
    """Give each way's largest |difference in probability| from plain float32 over `images`."""
    found: dict[str, Tensor] = {}
    with torch.inference_mode():
        for name, forward in _named(bundle.network).items():
            logits = torch.cat([forward(batch) for batch in images.split(max(BATCHES))])
            found[name] = torch.sigmoid(bundle.calibration({"pred": logits})["pred"])
    plain = next(iter(found.values()))
    return {name: float((given - plain).abs().max()) for name, given in found.items()}


Seconds = dict[tuple[str, int, int], list[float]]  # way, threads, batch -> per image, each round


def race(bundle: Bundle, rounds: int, progress: Callable[[str], None]) -> Seconds:
    """Time every way with one thread and with all, one image and many, in turns."""
    forwards = _named(bundle.network)
    everything = torch.get_num_threads()
    chance = random.Random(SEED)
    seconds: Seconds = defaultdict(list)
    try:
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for threads, batch in product(sorted({1, everything}), BATCHES):
                torch.set_num_threads(threads)
                images = torch.rand(batch, *bundle.shape) * 2 - 1
                for name in chance.sample(list(forwards), len(forwards)):
                    seconds[name, threads, batch].append(_time(forwards[name], images))
    finally:
        torch.set_num_threads(everything)
    return dict(seconds)


def _time(forward: Forward, images: Tensor) -> float:
    """Give the seconds an image takes, after one call that only warms up."""
    calls = max(1, max(BATCHES) // 2 // len(images))
    with torch.inference_mode():
        forward(images)
        begun = time.perf_counter()
        for _ in range(calls):
            forward(images)
    return (time.perf_counter() - begun) / calls / len(images)


def probe(way: str) -> dict[str, float]:
    """Measure what a process of its own needs for `way`, from nothing to the first answer."""
    bundle = load(Path())
    begun = time.perf_counter()
    forward = ways()[way](bundle.network)
    peaks = []
    with torch.inference_mode():
        for batch in BATCHES:
            forward(torch.zeros(batch, *bundle.shape))
            if batch == BATCHES[0]:
                first = time.perf_counter() - begun
            peaks.append(_peak_mib())
    found = {f"peak_mib_batch_{batch}": peak for batch, peak in zip(BATCHES, peaks, strict=True)}
    if way.startswith("cuda"):
        found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return {
        "import_seconds": IMPORT_SECONDS,
        "load_seconds": bundle.seconds,
        "first_answer_seconds": first,
        **found,
    }


def _peak_mib() -> float:
    """Give the most memory that this process ever held."""
    told = Path("/proc/self/status")  # getrusage would tell the parent's, from before the exec
    if told.exists():
        return float(told.read_text().partition("VmHWM:")[2].split()[0]) / 1024  # from kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _probed(way: str, rounds: int) -> dict[str, float]:
    command = [sys.executable, "-m", "scripts.evaluation.benchmark", "--probe", way]
    found: list[dict[str, float]] = []
    for _ in range(rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    return {name: round(statistics.median(each[name] for each in found), 2) for name in found[0]}


def summary(seconds: Seconds, way: str) -> dict[str, dict[str, float]]:
    """Give a way's median images a second, and its median ratio to plain float32."""
    rates, ratios = {}, {}
    for (name, threads, batch), taken in seconds.items():
        if name != way:
            continue
        case = f"threads_{threads}_batch_{batch}"
        rates[case] = round(1 / statistics.median(taken), 1)
        plain = seconds[BASE, threads, batch]
        ratios[case] = round(statistics.median(map(truediv, plain, taken)), 2)
    return {"images_per_second": rates, "ratio": ratios}


def fastest_exact(found: dict[str, dict[str, Any]]) -> str:
    """Give the way with the largest mean ratio among those that give the same answer."""
    exact = {name: way for name, way in found.items() if way["largest_difference"] <= EXACT}
    return max(exact, key=lambda name: statistics.geometric_mean(exact[name]["ratio"].values()))


def measured(rounds: int, count: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure the bundle in the current folder every way there is."""
    bundle = load(Path())
    what, images = inputs(bundle, count, Path(DATA), Path(SAMPLES))
    progress(f"differences over {len(images)} {what}")
    differs = differences(bundle, images)
    seconds = race(bundle, rounds, progress)
    found: dict[str, dict[str, Any]] = {}
    for way in ways():
        progress(f"memory and start of {way}")
        found[way] = {
            "what": (ways()[way].__doc__ or "").strip(),
            "largest_difference": float(f"{differs[way]:.1e}"),
            **summary(seconds, way),
            **_probed(way, min(rounds, 3)),
        }
    return {
        "machine": machine(),
        "network": size(bundle),
        "rounds": rounds,
        "inputs": {"what": what, "images": len(images)},
        "ways": found,
        "fastest_exact": fastest_exact(found),
    }


def size(bundle: Bundle) -> dict[str, Any]:
    """Give what does not depend on the machine: parameters, and operations for one image."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        bundle.network(torch.zeros(1, *bundle.shape))
    return {
        "name": type(bundle.network).__name__,
        "weights": "as shipped" if bundle.is_trained else "random: those shipped do not fit",
        "input": list(bundle.shape),
        "parameters": _parameters(bundle.network),
        "parameters_of": {n: _parameters(part) for n, part in bundle.network.named_children()},
        "gflop_per_image": round(counter.get_total_flops() / 1e9, 3),
    }


def _parameters(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def machine() -> dict[str, Any]:
    """Give what the figures depend on."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line]
    return {
        "processor": models[0] if models else platform.processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }


def table(result: dict[str, Any]) -> str:
    """Give `result` as a table in Markdown: images a second (ratio to plain float32)."""
    cases = list(result["ways"][BASE]["ratio"])
    head = ["way", *(case.replace("_", " ") for case in cases), "difference", "MiB", "first answer"]
    lines = [head, ["---"] * len(head)]
    for name, way in result["ways"].items():
        lines.append(
            [
                name,
                *(f"{way['images_per_second'][c]} ({way['ratio'][c]:.2f})" for c in cases),
                f"{way['largest_difference']:.1e}",
                f"{way[f'peak_mib_batch_{BATCHES[-1]}']:.0f}",
                f"{sum(way[f'{part}_seconds'] for part in STAGES):.1f} s",
            ]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="a JSON file for all figures")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=64, help="to compare the probabilities on")
    parser.add_argument("--probe", choices=ways(), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.probe:
        print(json.dumps(probe(given.probe)))
        return
    result = measured(given.rounds, given.images, lambda text: print(text, file=sys.stderr))
    network = result["network"]
    print(
        f"{network['name']}: {network['parameters']:,} parameters, {network['gflop_per_image']} "
        f"GFLOP an image of {network['input']} (a multiply-add is two), weights "
        f"{network['weights']}; {result['machine']['processor']}, "
        f"torch {result['machine']['torch']}"
    )
    print(table(result))
    print(f"fastest with a difference of at most {EXACT:g}: {result['fastest_exact']}")
    if given.output:
        given.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
