"""Run every part of the benchmark, and write the figures and their page.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench --quick

Each part is a process of its own, which ends with it whatever happens. A part that fails is left
out, and said to be.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.harness.engine import RUN
from bench.harness.figures import PartResult, Results, read_part, read_results, write_json
from bench.harness.machine import describe
from bench.harness.page import page_of
from bench.harness.part import COMMAND

# by the name of a part, in the order of the page
MODULES: Final = {
    "receive": "bench.parts.receive",
    "end-to-end": "bench.parts.end_to_end",
    "under-inference": "bench.parts.under_inference",
    "forward": "bench.parts.forward",
    "decode": "bench.parts.decode",
    "reporting": "bench.reporting",
    "delivery": "bench.parts.delivery",
    "start-up": "bench.parts.startup",
    "backlog": "bench.parts.backlog",
    "idle": "bench.parts.idle",
    "hand-over": "bench.parts.hand_over",
    "gpu": "bench.gpu",
}
SERVICES: Final = ("end-to-end", "start-up", "under-inference")
_ROOT: Final = Path(__file__).resolve().parents[2]
_MODULES: Final = f"{_ROOT / 'tests'}:{_ROOT / 'monai_bundle'}"
SECONDS: Final = 900  # after which the last part is ended; each looks at its own time too
QUICK_SECONDS: Final = 120
_ENDING_SECONDS: Final = 10
_LAST: Final = 0.15  # of that time, in which no part begins


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts one after another."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a selection, in two minutes")
    parser.add_argument("--only", help="these parts, separated by commas")
    parser.add_argument("--output", type=Path, help="write the figures here, as JSON")
    parser.add_argument("--page", type=Path, help="write the page here")
    parser.add_argument("--patient", action="store_true", help="measure all parts, however slow")
    parser.add_argument("--from", dest="source", type=Path, help="measure nothing: read figures")
    options = parser.parse_args(arguments)
    results = read_results(options.source) if options.source else _measured(options)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.output, results)
    if options.page:
        options.page.write_text(page_of(results))
    if not options.page:
        print(page_of(results))


def _measured(options: argparse.Namespace) -> Results:
    names = options.only.split(",") if options.only else list(MODULES)
    if unknown := [name for name in names if name not in MODULES]:
        raise SystemExit(f"no such part: {', '.join(unknown)}; there are {', '.join(MODULES)}")
    command = f"make bench{'-quick' if options.quick else ''}"
    machine = describe()
    seconds = QUICK_SECONDS if options.quick else SECONDS
    if options.only or options.patient:
        seconds *= 10
    # whole services last: where they are slow, the others are measured all the same
    order = sorted(names, key=lambda name: name in SERVICES)
    found = run_parts({name: MODULES[name] for name in order}, seconds, quick=options.quick)
    parts = tuple(sorted(found, key=lambda part: list(MODULES).index(part.name)))
    return Results(machine=machine, command=command, parts=parts)


def run_parts(modules: Mapping[str, str], seconds: float, *, quick: bool) -> tuple[PartResult, ...]:
    """Run the module of each part as a process, one after another, for at most so long."""
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix=RUN) as folder:  # of parts that were ended too
        return tuple(
            _run(name, module, Path(folder), until, quick=quick)
            if time.monotonic() < until - _LAST * seconds
            else _failed(name, module, "did not begin, for lack of time")
            for name, module in modules.items()
        )


def _run(name: str, module: str, folder: Path, until: float, *, quick: bool) -> PartResult:
    if importlib.util.find_spec(module) is None:
        return _failed(name, module, "is not in this version")
    output = folder / f"{name}.json"
    command = ["env", f"TMPDIR={folder}", f"PYTHONPATH={_MODULES}", sys.executable, "-m", module]
    command += ["--output", str(output), *(["--quick"] * quick)]
    print(f"— {name}", file=sys.stderr, flush=True)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
        try:
            run.wait(until - time.monotonic())
        except subprocess.TimeoutExpired:
            run.terminate()  # so that it writes the figures that it has
            if not _ends(run) or not output.exists():
                return _failed(name, module, "took too long, and was ended")
    if run.returncode:
        return _failed(name, module, f"failed with status {run.returncode}")
    if not output.exists():
        return _failed(name, module, "wrote no figures")
    return replace(read_part(output), name=name)


def _ends(run: subprocess.Popen[bytes]) -> bool:
    """Wait for a part that was asked to end; kill it if it does not."""
    try:
        run.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        run.kill()
        return False
    return True


def _failed(name: str, module: str, why: str) -> PartResult:
    print(f"left out: {name} {why}", file=sys.stderr, flush=True)
    return PartResult(
        name=name,
        title=name.capitalize(),
        text="",
        command=f"{COMMAND} {module}",
        ours="",
        seconds=0,
        figures=(),
        left_out=(f"the whole part, which {why}",),
    )


if __name__ == "__main__":
    main()
