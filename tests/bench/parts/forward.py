"""The forward pass alone: images a second by engine and batch, and what an image costs.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.forward
"""

import importlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench.harness.engine import artefact_of, engines_folder, has_engines
from bench.harness.part import Measurement, Part
from bench.harness.radiographs import uncompressed
from support.open_gate import bundle_with_open_gate

from service.settings import BundleSettings
from workers.inference.predictor import BundleError, Predictor, load_predictor

BATCHES: Final = (1, 2, 4, 8, 16, 32)
_RATE: Final = "Images a second"
_COST: Final = "Processor time, ms an image"


def measure(measurement: Measurement) -> None:
    """Predict batches of one input, in turns over the engines."""
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        folder = Path(name)
        engines = _engines(bundle_with_open_gate(folder), folder, measurement)
        path = uncompressed().write(folder / "radiograph.dcm")
        inputs = {engine: each.read(path).tensor for engine, each in engines.items()}
        for engine, predictor in engines.items():
            _run(predictor, inputs[engine], 1, 0)
        seconds = 0.5 if measurement.quick else 1.0
        for _ in measurement.rounds(2 if measurement.quick else 5):
            for batch in (1, 8) if measurement.quick else BATCHES:
                for engine, predictor in engines.items():
                    rate, cost = _run(predictor, inputs[engine], batch, seconds)
                    case = f"batch of {batch}"
                    measurement.add(_RATE, case, engine, rate)
                    measurement.add(_COST, case, engine, cost)


def _engines(bundle: Path, folder: Path, measurement: Measurement) -> Mapping[str, Predictor]:
    """Load the bundle once for each engine that this version and this machine have."""
    found = {"torch": load_predictor(BundleSettings(path=bundle))}
    if not has_engines():
        measurement.leave_out("engines other than torch, which this version does not have")
        return found
    try:
        artefact = artefact_of(bundle, folder / "state", engines_folder(folder))
        load = importlib.import_module("workers.inference.engines.openvino_engine").load_engine
        other: Any = load_predictor(BundleSettings(path=bundle))
        other.engine = load(artefact)
        found["openvino"] = other
    except (BundleError, ImportError, AttributeError, OSError, RuntimeError) as error:
        measurement.leave_out(f"openvino: {type(error).__name__} {error}")
    return found


def _run(predictor: Predictor, tensor: Any, batch: int, seconds: float) -> tuple[float, float]:  # noqa: ANN401 -- the predictor's own kind
    """Return images a second, and milliseconds of the processors for each."""
    inputs = [tensor] * batch
    began, used, done = time.perf_counter(), time.process_time(), 0
    while not done or time.perf_counter() - began < seconds:
        predictor.predict(inputs)
        done += batch
    passed = time.perf_counter() - began
    return done / passed, (time.process_time() - used) * 1000 / done


PART: Final = Part(
    name="forward",
    title="Forward pass",
    text=(
        "Inputs that are decoded already, predicted by the bundle's network and postprocessing, by "
        "engine and batch, with as many threads as each takes by itself."
    ),
    seconds=50,
    quick_seconds=8,
    measure=measure,
    module="bench.parts.forward",
)

if __name__ == "__main__":
    PART.main()
