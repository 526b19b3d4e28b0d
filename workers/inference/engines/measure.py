"""Compare an exported network with torch, and measure both in turns."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from workers.inference.bundle_smoke_test import draw
from workers.inference.engines.openvino_engine import OpenVinoEngine
from workers.inference.model_io import ModelOutput, Outputs, Pixels, stacked
from workers.inference.pipeline import Pipeline
from workers.prediction import NotAnalysable

LARGEST_DIFFERENCE: Final = 1e-3  # of a probability
BATCHES: Final = (1, 8)
_LOGITS: Final = ("pred", "other")
_ROUNDS: Final = 3
_AGES: Final = (None, 3.0, 45.0)
_LARGEST_RELATIVE: Final = 1e-2  # of an output, by the largest of its values


class DifferentError(Exception):
    """An exported network gives something else than torch; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The milliseconds for a radiograph by size of the batch."""

    torch: Mapping[str, float]
    other: Mapping[str, float]

    @property
    def ratio(self) -> float:
        """How many times as fast as torch the other is, at the size where it gains least."""
        return min(self.torch[size] / self.other[size] for size in self.torch)


def inputs_of(pipeline: Pipeline) -> list[Pixels]:
    """Return inputs of one shape: drawn radiographs, and what is unlike any.

    Raises:
        DifferentError: preprocessing reads none of them, or gives more than one shape.
    """
    with TemporaryDirectory(prefix="lobar-engine-") as folder:
        drawn = draw(Path(folder))
        read = [_read(pipeline, path) for path in (*drawn.chests, *drawn.others)]
    base = [each for each in read if each is not None]
    if len({each.shape for each in base}) != 1:
        raise DifferentError("preprocessing gives no input, or inputs of more than one shape")
    noise = np.random.default_rng(15)
    return [
        *base,
        *(np.ascontiguousarray(each[..., ::-1]) for each in base),
        *(each * np.float32(0.6) for each in base),
        *(each + noise.normal(0, 0.1, each.shape).astype(np.float32) for each in base),
    ]


def _read(pipeline: Pipeline, path: Path) -> Pixels | None:
    try:
        return pipeline.read(path).tensor
    except NotAnalysable:
        return None


def largest_difference(
    pipeline: Pipeline, engine: OpenVinoEngine, inputs: Sequence[Pixels]
) -> float:
    """Return the largest difference between the probabilities of an engine and those of torch.

    Raises:
        DifferentError: it is larger than allowed, or anything else differs.
    """
    images = stacked(inputs)
    wanted, found = pipeline.forward(images), engine.run(images)
    _compare_outputs(wanted, found)
    alone = [engine.run(images[place : place + 1]) for place in range(len(images))]
    _compare_outputs(wanted, {key: np.concatenate([each[key] for each in alone]) for key in wanted})
    largest = max(
        *(_probabilities_apart(pipeline, wanted, found, age) for age in _AGES),
        *(_sigmoids_apart(wanted[key], found[key]) for key in _LOGITS if key in wanted),
    )
    if largest > LARGEST_DIFFERENCE:
        raise DifferentError(f"a probability differs by {largest:.2g}")
    return largest


def _compare_outputs(wanted: Outputs, found: Outputs) -> None:
    for key, each in wanted.items():
        if found[key].shape != each.shape:
            raise DifferentError(f"{key!r} has another shape in some batches")
        scale = max(1.0, float(np.abs(each).max(initial=0)))
        if not np.allclose(found[key], each, rtol=0, atol=_LARGEST_RELATIVE * scale):
            raise DifferentError(f"{key!r} differs")


def _sigmoids_apart(wanted: Pixels, found: Pixels) -> float:
    """Return by how much uncalibrated probabilities differ; a gate may refuse what was drawn."""
    one, other = (1 / (1 + np.exp(-np.clip(each, -60, 60))) for each in (wanted, found))
    return float(np.abs(one - other).max())


def _probabilities_apart(
    pipeline: Pipeline, wanted: Outputs, found: Outputs, age: float | None
) -> float:
    ages = [age] * len(next(iter(wanted.values())))
    pairs = zip(
        pipeline.conclude_all(wanted, ages), pipeline.conclude_all(found, ages), strict=True
    )
    return max(max(_apart(one, other)) for one, other in pairs)


def _apart(one: ModelOutput | NotAnalysable, other: ModelOutput | NotAnalysable) -> Iterator[float]:
    if isinstance(one, NotAnalysable) or isinstance(other, NotAnalysable):
        reasons = {getattr(each, "reason", None) for each in (one, other)}
        yield 0.0 if len(reasons) == 1 else 1.0
        return
    yield abs(one.probability - other.probability)
    yield abs((one.other or 0) - (other.other or 0))
    yield 0.0 if one.population == other.population else 1.0


def measure(pipeline: Pipeline, engine: OpenVinoEngine, image: Pixels) -> Measured:
    """Measure torch and an engine in turns on batches of one input."""
    found: dict[str, tuple[float, float]] = {}
    for size in BATCHES:
        images = stacked([image] * size)
        times = [
            (_milliseconds(pipeline.forward, images), _milliseconds(engine.run, images))
            for _ in range(_ROUNDS + 1)
        ][1:]
        found[str(size)] = (
            statistics.median(torch for torch, _ in times),
            statistics.median(other for _, other in times),
        )
    return Measured(
        torch={size: torch for size, (torch, _) in found.items()},
        other={size: other for size, (_, other) in found.items()},
    )


def _milliseconds(run: Callable[[Pixels], Outputs], images: Pixels) -> float:
    began = time.perf_counter()
    run(images)
    return round(1000 * (time.perf_counter() - began) / len(images), 3)
