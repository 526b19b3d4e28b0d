"""Receiving while every core infers, beside the same while the infer worker is stopped.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.under_inference
"""

import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
from bench.harness.part import Measurement, Part
from bench.harness.radiographs import Radiograph, jpeg_2000, uncompressed
from bench.harness.senders import StoreFailedError, send_for
from bench.harness.service import Durable, running
from peers.raw_scu import Closed
from support.lobar_process import LobarService

_TABLE: Final = "Images a second received"
_PAUSE: Final = 0.2  # seconds, in which an ordinary transaction ends
_STEP: Final = 0.002
_ENDED: Final = "X"
_STILL: Final = frozenset({"T", "Z", _ENDED})  # stopped, or no more; proc(5)


def measure(measurement: Measurement) -> None:
    """Send with the infer worker stopped, then while it works off what has come, in turns."""
    seconds = 1 if measurement.quick else 3
    kinds = (uncompressed(), jpeg_2000())
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name, running(Path(name)) as durable:
        for _ in measurement.rounds(1 if measurement.quick else 4):
            for kind in kinds:
                with _stopped(durable.service):
                    _send(durable, kind, seconds, "inference stopped", measurement)
                _send(durable, kind, seconds, "under inference", measurement)


def _send(
    durable: Durable, kind: Radiograph, seconds: float, subject: str, measurement: Measurement
) -> None:
    try:
        sent = send_for(seconds, kind, durable.service.dicom_port, associations=4)
    except (StoreFailedError, OSError, Closed) as error:
        measurement.leave_out(f"a round of {kind.name}, {subject}: {type(error).__name__} {error}")
        return
    measurement.add(_TABLE, kind.name, subject, sent.rate)


@contextmanager
def _stopped(service: LobarService) -> Iterator[None]:
    """Stop the infer worker and its decoders, for less time than progress is waited for."""
    process = psutil.Process(service.part("infer"))
    family = [process, *process.children(recursive=True)]
    try:
        _stop(family)
        while _is_locked(service):  # by a worker that was stopped in a transaction
            _signal(family, signal.SIGCONT)
            time.sleep(_PAUSE)
            _stop(family)
        yield
    finally:
        _signal(family, signal.SIGCONT)


def _stop(family: Sequence[psutil.Process]) -> None:
    """Stop processes, and wait until all of their threads stand still.

    The thread that takes the signal stops the others, and waits for a processor before; one of
    them could begin a transaction meanwhile.
    """
    _signal(family, signal.SIGSTOP)
    while not all(_stands_still(each.pid) for each in family):
        time.sleep(_STEP)


def _stands_still(pid: int) -> bool:
    states = (_state(each) for each in Path(f"/proc/{pid}/task").glob("*/stat"))
    return all(state in _STILL for state in states)


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[0]  # proc(5): after the name
    except OSError:
        return _ENDED


def _signal(family: Sequence[psutil.Process], number: signal.Signals) -> None:
    for each in family:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(number)


def _is_locked(service: LobarService) -> bool:
    """Whether the ledger cannot be written: whether another process does not end a transaction."""
    with closing(sqlite3.connect(service.state_dir / "ledger.sqlite3", timeout=_PAUSE)) as ledger:
        try:
            ledger.execute("BEGIN IMMEDIATE")
            ledger.rollback()
        except sqlite3.OperationalError:
            return True
    return False


PART: Final = Part(
    name="under-inference",
    title="Receiving under full inference",
    text=(
        "One whole service, 4 associations. In turns the infer worker and its decoders are stopped "
        "by a signal, and continue with what has come meanwhile."
    ),
    ours="under inference",
    seconds=40,
    quick_seconds=5,
    measure=measure,
    module="bench.parts.under_inference",
)

if __name__ == "__main__":
    PART.main()
