"""Time the forward pass by engine and size of the batch, in turns; or compare the engines on films.

    PYTHONPATH=tests .venv/bin/python -m bench.forward
    PYTHONPATH=tests .venv/bin/python -m bench.forward --films ../shared/data --most 300

Printed are medians of milliseconds for a radiograph, of the processor and of the clock, in one
thread or as many as `--threads` says, with the ratio of each engine to torch. With `--films` the
largest differences between the engines, of probabilities, over radiographs of a folder: how many
were read, how many findings differ, and no name of any.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import torch
from synthetic.pictures import chest

from service.settings import SHIPPED_BUNDLE, Settings
from workers.inference.engines.artefact import Record, keep
from workers.inference.engines.choice import folder_of
from workers.inference.engines.export import export
from workers.inference.engines.openvino_engine import PROPERTIES, OpenVinoEngine, load_engine
from workers.inference.model_io import Outputs, Pixels
from workers.inference.predictor import Predictor
from workers.prediction import NotAnalysable, Prediction

SHAPE: Final = (1, 224, 224)
BATCHES: Final = (1, 2, 4, 8, 16)
AGES: Final = (None, 3.0, 45.0)
EVERYBODY: Final = ("infants", "school_children", "adults")
SUFFIXES: Final = frozenset({".dcm", ".png", ".jpg", ".jpeg"})

Milliseconds = tuple[float, float]  # of the processor, of the clock


def exported(predictor: Predictor, folder: Path) -> OpenVinoEngine:
    """Export the network of a bundle and load it."""
    made = export(predictor._pipeline, SHAPE)
    record = Record(
        identity={}, engine="openvino", reason="", shape=SHAPE, outputs=made.outputs, numbers=1
    )
    settings = Settings(state_dir=folder)
    return load_engine(keep(folder_of(settings), record, made.network))


def time_once(run: Callable[[Pixels], Outputs], images: Pixels) -> Milliseconds:
    """Return how long a radiograph of a batch takes."""
    processor, clock = time.process_time(), time.perf_counter()
    run(images)
    took = time.process_time() - processor, time.perf_counter() - clock
    return took[0] * 1000 / len(images), took[1] * 1000 / len(images)


def measure(
    ways: Mapping[str, Callable[[Pixels], Outputs]], rounds: int
) -> Iterator[tuple[int, dict[str, Milliseconds]]]:
    """Yield for each size of a batch the medians of all ways, which are timed in turns."""
    image = (chest(*SHAPE[1:], 8) / 127.5 - 1).astype(np.float32)[None]
    for size in BATCHES:
        images = np.stack([image] * size)
        turns = [
            {name: time_once(run, images) for name, run in ways.items()} for _ in range(rounds + 1)
        ][1:]
        yield (
            size,
            {
                name: (
                    statistics.median(turn[name][0] for turn in turns),
                    statistics.median(turn[name][1] for turn in turns),
                )
                for name in ways
            },
        )


def films(folder: Path, most: int) -> list[Path]:
    """Return files below a folder, as many as asked for, chosen by a seed."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(random.Random(15).sample(found, min(most, len(found))))


@dataclass(slots=True)
class Differences:
    """What differs between torch and an engine on films, each predicted at several ages."""

    films: int = 0
    pneumonia: float = 0
    other_abnormality: float = 0
    findings: int = 0
    refusals: int = 0

    def add(self, one: Prediction | NotAnalysable, two: Prediction | NotAnalysable) -> None:
        """Add a pair of answers for one film."""
        if not (isinstance(one, Prediction) and isinstance(two, Prediction)):
            self.refusals += str(one) != str(two)
            return
        self.pneumonia = max(self.pneumonia, abs(one.probability - two.probability))
        if one.other and two.other:
            apart = abs(one.other.probability - two.other.probability)
            self.other_abnormality = max(self.other_abnormality, apart)
        self.findings += one.finding != two.finding


def compare(predictor: Predictor, engine: OpenVinoEngine, paths: Sequence[Path]) -> Differences:
    """Predict films with torch and with an engine."""
    found = Differences()
    for path in paths:
        try:
            prepared = [predictor.prepare(path)] * len(AGES)
        except NotAnalysable:
            continue
        predictor.engine = None
        wanted = predictor.predict(prepared, AGES)
        predictor.engine = engine
        for one, two in zip(predictor.predict(prepared, AGES), wanted, strict=True):
            found.add(one, two)
        found.films += 1
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line for each size of a batch, or one about films."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--films", type=Path, help="a folder of radiographs")
    parser.add_argument("--most", type=int, default=300, help="films")
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    PROPERTIES["INFERENCE_NUM_THREADS"] = str(options.threads)
    predictor = Predictor(options.bundle, device="cpu", report_populations=EVERYBODY)
    with tempfile.TemporaryDirectory() as folder:
        engine = exported(predictor, Path(folder))
        if options.films:
            print(compare(predictor, engine, films(options.films, options.most)))
            return
        ways = {"torch": predictor._pipeline.forward, "openvino": engine.run}
        print(f"torch {torch.__version__}, openvino {version('openvino')}")
        print("batch | ms of the processor (of the clock): torch | openvino | ratio")
        for size, found in measure(ways, options.rounds):
            (slow, slow_clock), (fast, fast_clock) = found["torch"], found["openvino"]
            print(
                f"{size} | {slow:.1f} ({slow_clock:.1f}) | {fast:.1f} ({fast_clock:.1f}) "
                f"| {slow / fast:.2f} ({slow_clock / fast_clock:.2f})"
            )


if __name__ == "__main__":
    main()
