"""From a file to the network's input: by transfer syntax beside the plain way, and by stage.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.decode
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from bench.decoding import our_way, plain_way, write_files
from bench.harness.part import Measurement, Part
from scripts.robustness.decoding import SYNTAXES

_QUICK: Final = ("uncompressed", "JPEG 2000 lossy")
_TABLE: Final = "Processor time, ms an image"


def measure(measurement: Measurement) -> None:
    """Time both ways on a file of each syntax in turns, with one thread."""
    torch.set_num_threads(1)
    syntaxes = [each for each in SYNTAXES if each != "RLE"]
    if measurement.quick:
        known = [each for each in syntaxes if any(each.startswith(name) for name in _QUICK)]
        syntaxes = known or syntaxes[:2]
    ways: dict[str, Callable[[Path], Any]] = {"Lobar": our_way(), "the plain way": plain_way}
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        files = list(write_files(Path(name), syntaxes, 12))
        for _, path in files:
            ways["Lobar"](path)
        for _ in measurement.rounds(3 if measurement.quick else 9):
            for syntax, path in files:
                for way, read in ways.items():
                    began = time.process_time()
                    read(path)
                    taken = (time.process_time() - began) * 1000
                    measurement.add(_TABLE, syntax, way, taken)


PART: Final = Part(
    name="decode",
    title="Decoding and preprocessing",
    text=(
        "A synthetic radiograph of 2048x2048 pixels of 12 bits with noise, from the file to the "
        "network's input of 224x224, with one thread. The plain way is pydicom's pixel_array and "
        "apply_voi_lut, and MONAI's antialiased Resize. Native values need no decoder: the row "
        "uncompressed is preprocessing alone."
    ),
    ours="Lobar",
    seconds=35,
    quick_seconds=6,
    measure=measure,
    module="bench.parts.decode",
)

if __name__ == "__main__":
    PART.main()
