"""Jobs a second through the ledger, beside a small backlog and large ones.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.backlog

`bench.backlog` has every operation by itself, and PostgreSQL.
"""

import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.backlog import Operations
from bench.harness.part import Measurement, Part
from support.backlog import fill_backlog, instance

from service.storage.ledger import Ledger

SIZES: Final = ((1_000_000, 100_000), (100, 10), (10_000, 1_000))  # rows of jobs, due
QUICK_SIZES: Final = ((20_000, 2_000), (100, 10))
_RECEIPTS: Final = 60


def measure(measurement: Measurement) -> None:
    """Let jobs pass through each ledger in turns."""
    sizes = QUICK_SIZES if measurement.quick else SIZES
    with ExitStack() as made:
        ledgers = {size: _filled(*size, made) for size in sizes}
        for _ in measurement.rounds(2 if measurement.quick else 7):
            for (jobs, due), (ledger, operations) in ledgers.items():
                subject = f"{jobs:,} rows, {due:,} due"
                rate = operations.cycles(64 if measurement.quick else 200)
                measurement.add(
                    "Milliseconds a job", "from lease to delivered", subject, 1e3 / rate
                )
                measurement.add("Milliseconds a job", "receipt", subject, _receipt(ledger))


def _filled(jobs: int, due: int, made: ExitStack) -> tuple[Ledger, Operations]:
    folder = Path(made.enter_context(tempfile.TemporaryDirectory(prefix="lobar-bench-")))
    url = f"sqlite:///{folder / 'ledger.sqlite3'}"
    ledger = Ledger(url)
    ledger.upgrade()
    fill_backlog(url, jobs=jobs, due=due, now=time.time())
    operations = Operations(ledger, url)
    made.callback(ledger.close)
    made.callback(operations.close)
    operations.cycles(16)
    return ledger, operations


def _receipt(ledger: Ledger) -> float:
    """Return the median milliseconds in which an instance is recorded."""
    taken = []
    for _ in range(_RECEIPTS):
        new = instance()
        began = time.perf_counter()
        ledger.jobs.receive(new)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


PART: Final = Part(
    name="backlog",
    title="The ledger with a backlog",
    text=(
        "SQLite. A job passes through the ledger: leased, reported, its delivery leased and "
        "delivered, without a model and without a destination. Each ledger has so many rows of "
        "jobs, and so many jobs, deliveries and requests for commitment that are due. The aim "
        "holds what both rows grow by against all that an image costs in a burst: it has no other "
        "part that depends on the ledger's rows."
    ),
    ours=f"{SIZES[0][0]:,} rows, {SIZES[0][1]:,} due",
    seconds=100,
    quick_seconds=5,
    measure=measure,
    module="bench.parts.backlog",
)

if __name__ == "__main__":
    PART.main()
