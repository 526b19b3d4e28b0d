"""What an image costs, and how much memory each part has, as ever more images pass through.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.growth --instances 100000

A whole service delivers small radiographs to a storescp that syncs each file; its settings are the
defaults, but its spool keeps 5 GB. Every so many images it prints the images a second, the
processor time of an image, and the memory of each part; at the end, the last of them over the
first. A hundred thousand images take one to two hours on two cores; with `--small-network`, by
which the service finds next to nothing to compute, half of that.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
from bench.harness.processes import role_of, seconds_by_role
from bench.harness.radiographs import uncompressed
from bench.harness.service import Durable, running
from bench.parts.end_to_end import burst
from support.foreign_bundle import make_bundle
from support.lobar_process import processes_of

_SIDE: Final = 256  # pixels: the cost of pixels is not the subject
_EVERY: Final = 1000
_KEPT_BYTES: Final = 5 * 10**9  # 100,000 images with their outputs have 85 GB

Row = Mapping[str, float]


def megabytes_by_role(state_dir: Path) -> dict[str, float]:
    """Return the memory (PSS) of the processes of a service, by role."""
    found: dict[str, float] = defaultdict(float)
    for pid in processes_of(state_dir):
        try:
            process = psutil.Process(pid)
            found[f"{role_of(process)}, MB"] += process.memory_full_info().pss / 1e6
        except psutil.Error:  # it ended meanwhile
            continue
    return found


def pass_through(durable: Durable, count: int) -> Row:
    """Let images pass through, and return what they cost and what the service has then."""
    state = durable.service.state_dir
    before = seconds_by_role(state)
    rate = burst(durable, uncompressed(_SIDE, _SIDE), count)
    after = seconds_by_role(state)
    used = sum(after[role] - before.get(role, 0) for role in after)
    return {
        "images a second": rate,
        "processor, ms an image": used * 1000 / count,
        **megabytes_by_role(state),
    }


def ratios(first: Row, last: Row) -> Row:
    """Return the last over the first, of what both have."""
    return {name: last[name] / first[name] for name in first if name in last and first[name]}


def line(head: str, row: Row) -> str:
    """Return a row as text."""
    return f"{head:>9}  " + "  ".join(f"{name} {value:.4g}" for name, value in sorted(row.items()))


def main() -> None:
    """Print a line for every so many images, and the last over the first."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--instances", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=_EVERY)
    parser.add_argument("--small-network", action="store_true", help="of the tests' own bundle")
    asked = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name, ExitStack() as ending:
        folder = Path(name)
        settings = {"LOBAR_SPOOL__MAXIMUM_BYTES": f"{_KEPT_BYTES}"}
        if asked.small_network:
            settings["LOBAR_BUNDLE__PATH"] = f"{make_bundle(folder / 'small')}"
        durable = ending.enter_context(running(folder, **settings))
        burst(durable, uncompressed(_SIDE, _SIDE), min(200, asked.every))  # all is loaded then
        for passed in range(asked.every, asked.instances + 1, asked.every):
            rows.append(pass_through(durable, asked.every))
            print(line(f"{passed:,}", rows[-1]), flush=True)
    if len(rows) > 1:
        print(line("ratio", ratios(rows[0], rows[-1])))


if __name__ == "__main__":
    main()
