"""A GPU: images a second from DICOM files to predictions, by batch, and how busy it is.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.gpu

Without CUDA it says so and measures nothing.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.harness.part import Measurement, Part
from bench.harness.radiographs import Radiograph, jpeg_2000, uncompressed
from support.open_gate import bundle_with_open_gate

from service.decoding import DecoderPool, Template
from service.settings import BundleSettings, DecodingSettings

BATCHES: Final = (1, 8, 32, 64, 128, 256, 512)
_FILES: Final = 256  # under names of their own; their bytes are in the page cache
_SAMPLE_MILLISECONDS: Final = 100
_RATE: Final = "Images a second"
_BUSY: Final = "GPU busy, %"
_TIME: Final = "Milliseconds an image"


def measure(measurement: Measurement) -> None:
    """Measure the network fed from memory by batch, then the way from files."""
    missing = _missing()
    if missing:
        measurement.leave_out(missing)
        return
    from workers.inference.decoders import DecodingReader, RadiographHandler  # noqa: PLC0415 -- torch

    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        folder = Path(name)
        bundle = bundle_with_open_gate(folder)
        template = Template(RadiographHandler(bundle))  # forked before CUDA begins
        cores = len(os.sched_getaffinity(0))
        pool = DecoderPool(template, DecodingSettings(), cores)
        with closing(template), closing(pool):
            _measure(bundle, DecodingReader(pool), folder, cores, measurement)


def _missing() -> str:
    """Return what is missing for a measurement, in words; empty if nothing is."""
    if shutil.which("nvidia-smi") is None:
        return "everything of a GPU: no nvidia-smi is on this machine"
    import torch  # noqa: PLC0415 -- seconds

    return "" if torch.cuda.is_available() else "everything of a GPU: torch finds no CUDA device"


def _measure(
    bundle: Path,
    reader: Any,  # noqa: ANN401 -- imported late
    folder: Path,
    cores: int,
    measurement: Measurement,
    device: str = "cuda",
) -> None:
    from workers.inference.predictor import load_predictor  # noqa: PLC0415 -- torch

    files = {kind.name: _files(kind, folder) for kind in (uncompressed(), jpeg_2000())}
    predictor = load_predictor(BundleSettings(path=bundle, device=device))
    tensor = reader.read(next(iter(files.values()))[0]).tensor
    for _ in measurement.rounds(1 if measurement.quick else 3):
        for batch in BATCHES[:4] if measurement.quick else BATCHES:
            _from_memory(partial(predictor.predict, [tensor] * batch), batch, measurement)
        for kind, paths in files.items():
            _from_files(reader, predictor, kind, paths, cores, measurement)


def _files(kind: Radiograph, folder: Path) -> list[Path]:
    first = kind.write(folder / f"{kind.transfer_syntax_uid}-0.dcm")
    others = [first.with_name(f"{kind.transfer_syntax_uid}-{n}.dcm") for n in range(1, _FILES)]
    for each in others:
        each.hardlink_to(first)
    return [first, *others]


def _from_memory(predict: Callable[[], object], batch: int, measurement: Measurement) -> None:
    """Predict a batch of inputs that are in memory, again and again."""
    for _ in range(3):  # what is compiled or chosen for a new size
        predict()
    with _watched() as busy:
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < (1 if measurement.quick else 3):
            predict()
            done += batch
        seconds = time.perf_counter() - began
    case = f"from memory, batch of {batch}"
    measurement.add(_RATE, case, "Lobar", done / seconds)
    measurement.add(_TIME, f"predicting, batch of {batch}", "Lobar", seconds * 1000 / done)
    if busy:
        measurement.add(_BUSY, case, "Lobar", statistics.mean(busy))


def _from_files(
    reader: Any,  # noqa: ANN401 -- imported late
    predictor: Any,  # noqa: ANN401 -- imported late
    kind: str,
    paths: Sequence[Path],
    cores: int,
    measurement: Measurement,
) -> None:
    """Decode in all cores, and predict what is decoded as one batch at a time."""
    predicting = 0.0
    wanted = list(paths) * (1 if measurement.quick else 8)
    with _watched() as busy, ThreadPoolExecutor(2 * cores) as threads:
        began = time.perf_counter()
        waiting: list[Any] = []
        for read in threads.map(reader.read, wanted):
            waiting.append(read.tensor)
            if len(waiting) == 64:
                at = time.perf_counter()
                predictor.predict(waiting)
                predicting += time.perf_counter() - at
                waiting = []
        if waiting:
            predictor.predict(waiting)
        seconds = time.perf_counter() - began
    case = f"from files, {kind}, {cores} cores"
    measurement.add(_RATE, case, "Lobar", len(wanted) / seconds)
    measurement.add(
        _TIME, f"{kind}: from file to prediction", "Lobar", seconds * 1000 / len(wanted)
    )
    measurement.add(_TIME, f"{kind}: of it predicting", "Lobar", predicting * 1000 / len(wanted))
    if busy:
        measurement.add(_BUSY, case, "Lobar", statistics.mean(busy))


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Sample how busy the GPU is, by nvidia-smi."""
    samples: list[float] = []
    asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    asked += ["--id=0", f"--loop-ms={_SAMPLE_MILLISECONDS}"]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as sampler:

        def read() -> None:
            assert sampler.stdout is not None
            samples.extend(float(line) for line in sampler.stdout if line.strip().isdigit())

        reading = threading.Thread(target=read)
        reading.start()
        try:
            yield samples
        finally:
            sampler.terminate()
            reading.join()


PART: Final = Part(
    name="gpu",
    title="A GPU",
    text=(
        "Predictions of inputs that are in memory, by batch; then files that are decoded in all "
        "cores and predicted in batches of 64. How busy the GPU is, nvidia-smi says."
    ),
    seconds=120,
    quick_seconds=20,
    measure=measure,
    module="bench.gpu",
)

if __name__ == "__main__":
    PART.main()
