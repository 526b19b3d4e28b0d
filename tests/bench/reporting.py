"""Time what a report and an overlay cost: the content tree filled into a template, and built anew.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.reporting [--quick] [--output FILE]

Measured is the time of one processor, which other processes hardly change, in milliseconds; the
ways are taken in turns. A report with its overlay is built and encoded, and the same is done with
what is durable then: the files of the outbox and the rows of the ledger. The picture that the
overlay shows is read from a synthetic radiograph of 2048x2048 pixels by transfer syntax.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
import torch
from bench.decoding import write_files
from pydicom.dataset import Dataset
from scripts.robustness.decoding import SYNTAXES
from support.inference_worker import Workspace
from synthetic.objects import make_cr
from synthetic.pictures import chest
from synthetic.report_sources import NOW, predicted, received, values

from workers.inference.decoders import RadiographHandler
from workers.inference.loading import read_header
from workers.prediction import Finding, Prediction, Region
from workers.reporting.outputs import store_outputs
from workers.reporting.overlay.secondary_capture import build_overlay
from workers.reporting.picture import Pixels
from workers.reporting.sr.report import build_report
from workers.tones import Tones

COMMAND: Final = "PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.reporting"
BUNDLE: Final = Path(__file__).resolve().parents[2] / "monai_bundle"
BUILDING: Final = "Processor time, ms a report with overlay"
READING: Final = "Processor time, ms a picture"
FILLED, BUILT = "Lobar", "tree built by highdicom each time"
QUICK_SYNTAXES: Final = ("uncompressed", "JPEG 2000 lossy")
Key = tuple[str, str, str]  # table, case, subject


@dataclass(frozen=True, slots=True)
class Shown:
    """The pixels of a radiograph, as the infer worker has them."""

    picture: Pixels
    tones: Tones | None = None


@dataclass(slots=True)
class Samples:
    """Milliseconds of the processor by what was measured."""

    taken: dict[Key, list[float]] = field(default_factory=dict)

    def time(self, table: str, case: str, subject: str, step: Callable[[], Any]) -> None:
        """Take a step and add how long its thread ran."""
        began = time.thread_time()
        step()
        milliseconds = (time.thread_time() - began) * 1000
        self.taken.setdefault((table, case, subject), []).append(round(milliseconds, 3))


def conclusions() -> dict[str, Prediction]:
    """Return what is reported: a positive with its region, and a negative."""
    region = Region(top=0.2, left=0.1, bottom=0.6, right=0.4)
    present = predicted()
    positive = Prediction(
        finding=present.finding, probability=0.87, model=present.model, region=region
    )
    return {"present, in a region": positive, "absent": predicted(Finding.ABSENT)}


def build(header: Dataset, picture: Pixels, prediction: Prediction, *, from_template: bool) -> None:
    """Build and encode a report and its overlay."""
    build_report(header, prediction, now=NOW, from_template=from_template).encode()
    build_overlay(header, picture, prediction, now=NOW).encode()


def measure_building(samples: Samples, rounds: int) -> None:
    """Time the outputs of one header in both ways."""
    picture = (chest(1024, 1024, 12) / 4095).astype(np.float32)
    for number in range(rounds + 1):
        counted = samples if number else Samples()  # the first round makes templates and fonts
        for name, prediction in conclusions().items():
            for subject, from_template in ((FILLED, True), (BUILT, False)):
                header = received(values("DX"))
                step = partial(build, header, picture, prediction, from_template=from_template)
                counted.time(BUILDING, f"report and overlay, {name}", subject, step)
                report = partial(
                    build_report, header, prediction, now=NOW, from_template=from_template
                )
                counted.time(BUILDING, f"of it the report, {name}", subject, report)


def measure_storing(samples: Samples, rounds: int) -> None:
    """Time the outputs of leased jobs until they are durable in outbox and ledger."""
    picture = (chest(1024, 1024, 12) / 4095).astype(np.float32)
    (prediction, *_) = conclusions().values()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        for number in range(rounds + 1):
            counted = samples if number else Samples()
            workspace.receive(make_cr(rows=64))
            (job,) = workspace.ledger.jobs.lease("bench/", 1, lease_seconds=600, maximum_attempts=3)
            header = read_header(workspace.spool.inbox(job.id))
            counted.time(
                BUILDING,
                "report and overlay, durable in outbox and ledger",
                FILLED,
                partial(
                    store_outputs,
                    workspace.settings,
                    workspace.ledger,
                    workspace.spool,
                    job,
                    header,
                    Shown(picture),
                    prediction,
                ),
            )
        workspace.ledger.close()


def measure_pictures(samples: Samples, rounds: int, syntaxes: Sequence[str]) -> None:
    """Time the reading of the picture, beside that of the network's input."""
    torch.set_num_threads(1)
    handler = RadiographHandler(BUNDLE)
    handler.prepare()
    with tempfile.TemporaryDirectory() as folder:
        files = list(write_files(Path(folder), syntaxes, 12))
        for number in range(rounds + 1):
            counted = samples if number else Samples()
            for syntax, path in files:
                for subject, request in (("the picture", "shown"), ("the network's input", "path")):
                    counted.time(READING, syntax, subject, partial(handler, {request: str(path)}))


def figures(samples: Samples) -> Iterator[dict[str, Any]]:
    """Yield each figure as the benchmark's other parts write theirs."""
    for (table, case, subject), taken in samples.taken.items():
        yield {"table": table, "case": case, "subject": subject, "samples": taken}


def print_tables(samples: Samples) -> None:
    """Print the median, the least and the largest of each figure."""
    for (table, case, subject), taken in samples.taken.items():
        spread = f"{min(taken):.1f} to {max(taken):.1f}"
        print(f"{table} | {case} | {subject} | {statistics.median(taken):.1f} ({spread})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a line for each figure, and write them where `--output` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and syntaxes")
    parser.add_argument("--output", type=Path, help="write the figures as JSON here too")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began, samples = time.monotonic(), Samples()
    rounds = 7 if options.quick else 25
    measure_building(samples, rounds)
    measure_storing(samples, rounds)
    syntaxes = QUICK_SYNTAXES if options.quick else [each for each in SYNTAXES if each != "RLE"]
    measure_pictures(samples, 3 if options.quick else 9, syntaxes)
    print_tables(samples)
    if options.output:
        result = {
            "name": "reporting",
            "title": "Report and overlay",
            "text": " ".join((__doc__ or "").split("\n\n")[-1].split()),
            "command": COMMAND + (" --quick" if options.quick else ""),
            "ours": FILLED,
            "seconds": round(time.monotonic() - began, 1),
            "figures": list(figures(samples)),
            "left_out": [],
        }
        options.output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
