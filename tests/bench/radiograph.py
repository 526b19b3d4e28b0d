"""Time what a decoder of the web process does to show a radiograph.

    PYTHONPATH=tests .venv/bin/python -m bench.radiograph [ROWS COLUMNS]

A synthetic radiograph of 3000 x 2500 pixels and 12 bits, with noise, is rendered from each
transfer syntax: as a picture of 1024 columns, as samples, and as samples through gzip. Printed are
medians in milliseconds of one thread, and the megabytes of the samples that are sent.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)
from synthetic.objects import encode, make_cr
from synthetic.part10 import part10

from service.decoding.pixel_data import load_decoders
from service.decoding.radiograph import RadiographHandler

SYNTAXES: Final = (ExplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "picture": {"as": "picture", "width": 1024},
    "samples": {"as": "samples", "compressed": False},
    "gzip": {"as": "samples", "compressed": True},
}
ROUNDS: Final = 5
NOISE: Final = 8  # standard deviation, of 4095


def main(rows: int = 3000, columns: int = 2500) -> None:
    """Print a line for each transfer syntax."""
    load_decoders()
    dataset = make_cr(rows=rows, columns=columns)
    noise = np.random.default_rng(1).normal(0, NOISE, (rows, columns))
    values = np.clip(np.rint(dataset.pixel_array + noise), 0, 4095)
    dataset.PixelData = values.astype("<u2").tobytes()
    print(f"{'transfer syntax':60}" + "".join(f"{each:>10}" for each in (*REQUESTS, "MB", "MB gz")))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "radiograph.dcm"
        for syntax in SYNTAXES:
            path.write_bytes(part10(encode(dataset, syntax)))
            print_line(syntax.name, path)


def print_line(name: str, path: Path) -> None:
    """Time each request for a file."""
    handler = RadiographHandler()
    figures = []
    for request in REQUESTS.values():
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            answer = handler({"radiograph": str(path), **request})
            times.append(time.perf_counter() - began)
        figures.append((statistics.median(times) * 1000, answer.arrays["body"].nbytes / 1e6))
    line = "".join(f"{milliseconds:10.0f}" for milliseconds, _ in figures)
    print(f"{name:60}{line}" + "".join(f"{size:10.1f}" for _, size in figures[1:]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
