"""Time the way from a file to the network's input: ours and the plain one, in turns, one thread.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.decoding

A synthetic radiograph of 2048x2048 pixels, with noise, is read in each transfer syntax. The plain
way is pydicom's `pixel_array`, `apply_modality_lut` and `apply_voi_lut`, and MONAI's antialiased
Resize. Printed are medians in milliseconds: of the processor, which other processes hardly change,
and of the clock.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.bundle.config_parser import ConfigParser
from monai.transforms.spatial.array import Resize
from pydicom import dcmread
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from scripts.robustness.decoding import SYNTAXES, encode
from synthetic.pictures import chest

BUNDLE: Final = Path(__file__).resolve().parents[2] / "monai_bundle"
SIDE: Final = 2048
NOISE: Final = 0.002  # standard deviation, of the largest value

Seconds = tuple[float, float]  # of the processor, of the clock


def write_files(folder: Path, syntaxes: Sequence[str], bits: int) -> Iterator[tuple[str, Path]]:
    """Write a synthetic radiograph in each syntax, with a window."""
    largest = (1 << bits) - 1
    noise = np.random.default_rng(1).normal(0, NOISE * largest, (SIDE, SIDE))
    words = np.clip(np.rint(chest(SIDE, SIDE, bits) * 0.9 + 0.05 * largest + noise), 0, largest)
    for syntax in syntaxes:
        stored = words.astype("<u2")
        path = folder / f"{len(list(folder.iterdir()))}.dcm"
        path.write_bytes(encode(stored, bits, 1, syntax))
        yield syntax, path


def our_way() -> Callable[[Path], Any]:
    """Return the preprocessing of the bundle."""
    config = ConfigParser()
    config.read_config(str(BUNDLE / "configs" / "inference.yaml"))
    config.parse()
    preprocessing = config.get_parsed_content("preprocessing")
    return lambda path: preprocessing({"image": str(path)})["image"]


def plain_way(path: Path) -> torch.Tensor:
    """Read, window and resize a radiograph with what the libraries offer."""
    dataset = dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    image = torch.as_tensor(np.asarray(shown, dtype=np.float32))[None]
    resized = torch.as_tensor(Resize((224, 224), mode="bilinear", anti_aliasing=True)(image))
    low, high = torch.quantile(resized.flatten(), torch.tensor([0.01, 0.99]))
    return ((resized - low) * (2 / (high - low)) - 1).clamp(-1, 1)


def time_once(read: Callable[[Path], Any], path: Path) -> Seconds:
    """Return how long one reading takes."""
    processor, clock = time.process_time(), time.perf_counter()
    read(path)
    return time.process_time() - processor, time.perf_counter() - clock


def measure(rounds: int, syntaxes: Sequence[str], bits: int) -> dict[str, list[list[Seconds]]]:
    """Time both ways on each file in turns, after one reading that is not counted."""
    ways = [our_way(), plain_way]
    found: dict[str, list[list[Seconds]]] = {each: [[], []] for each in syntaxes}
    with tempfile.TemporaryDirectory() as folder:
        files = list(write_files(Path(folder), syntaxes, bits))
        for number in range(rounds + 1):
            for syntax, path in files:
                for way, seconds in zip(ways, found[syntax], strict=True):
                    taken = time_once(way, path)
                    if number:
                        seconds.append(taken)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each syntax."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bits", type=int, default=16, help="stored, 12 to 16")
    parser.add_argument("--only", action="append", choices=list(SYNTAXES))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    syntaxes = options.only or [each for each in SYNTAXES if each != "RLE"]
    print("ms of the processor (of the clock) | ours | plain | ratio")
    for syntax, ways in measure(options.rounds, syntaxes, options.bits).items():
        (ours, clock), (plain, plain_clock) = (
            [statistics.median(each) * 1000 for each in zip(*seconds, strict=True)]
            for seconds in ways
        )
        print(
            f"{syntax} | {ours:.1f} ({clock:.1f}) | {plain:.1f} ({plain_clock:.1f}) "
            f"| {plain / ours:.1f}"
        )


if __name__ == "__main__":
    main()
