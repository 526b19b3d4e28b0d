"""Receiving: images a second beside other receivers, and what each image costs them.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.receive
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from bench.harness.part import Measurement, Part
from bench.harness.processes import processor_seconds
from bench.harness.radiographs import Radiograph, jpeg_2000, uncompressed
from bench.harness.senders import StoreFailedError, send_for
from bench.receivers.lobar import LobarListener, has_processes
from bench.receivers.peers import Naive, Receiver, compiled, peers
from peers.raw_scu import Closed, Rejected

PROCESSES: Final = (1, 2, 4)  # of the listener
ASSOCIATIONS: Final = (1, 4, 16, 64)
_RATE: Final = "Images a second"
_COST: Final = "Receiver's processor time, ms an image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is sent: over how many associations, and whether each takes one image only."""

    radiograph: Radiograph
    associations: int
    one_each: bool = False

    def __str__(self) -> str:
        words = "1 association" if self.associations == 1 else f"{self.associations} associations"
        one = ", one image each" if self.one_each else ""
        return f"{self.radiograph.name}, {words}{one}"


def measure(measurement: Measurement) -> None:
    """Measure each receiver in each case."""
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name, ExitStack() as running:
        receivers = list(started(Path(name), measurement, running))
        cases = list(_cases(quick=measurement.quick))
        for receiver in receivers:  # connections, caches and code that is used for the first time
            _sample(receiver, cases[0], 0.3, lambda *_: None, measurement)
        seconds = 0.4 if measurement.quick else 1.0
        for number in measurement.rounds(2 if measurement.quick else 5):
            for case in cases:
                for receiver in receivers[number % 2 :] + receivers[: number % 2]:
                    _sample(receiver, case, seconds, measurement.add, measurement)


def started(folder: Path, measurement: Measurement, running: ExitStack) -> Iterator[Receiver]:
    """Start Lobar's listener and its peers, to be ended with `running`."""
    others, left_out = peers(folder, compiled(folder))
    for each in left_out:
        measurement.leave_out(each)
    if measurement.quick:
        others = [each for each in others if not isinstance(each, Naive)]
    for receiver in (*_listeners(folder, measurement), *others):
        running.callback(receiver.kill)
        receiver.start()
        yield receiver


def _listeners(folder: Path, measurement: Measurement) -> Iterator[Receiver]:
    numbers = PROCESSES if has_processes() else (1,)
    if len(numbers) == 1:
        measurement.leave_out("several listener processes, which this version does not have")
    for number in numbers[:2] if measurement.quick else numbers:
        own = folder / f"lobar-{number}"
        own.mkdir()
        yield LobarListener(own, number)


def _cases(*, quick: bool) -> Iterator[Case]:
    for radiograph in (uncompressed(), jpeg_2000()):
        for associations in ASSOCIATIONS[:3] if quick else ASSOCIATIONS:
            yield Case(radiograph=radiograph, associations=associations)
        if not quick:
            for associations in (1, 4):
                yield Case(radiograph=radiograph, associations=associations, one_each=True)


def _sample(
    receiver: Receiver,
    case: Case,
    seconds: float,
    add: Callable[[str, str, str, float], None],
    measurement: Measurement,
) -> None:
    before = processor_seconds(receiver.pids())
    send = partial(send_for, seconds, case.radiograph, receiver.port, called=receiver.ae_title)
    try:
        sent = send(associations=case.associations, one_each=case.one_each)
    except (StoreFailedError, OSError, Closed, Rejected) as error:
        measurement.leave_out(f"{receiver.name}, {case}: {type(error).__name__} {error}")
        return
    time.sleep(0.05)  # processes of ended associations are counted once they were awaited
    used = processor_seconds(receiver.pids()) - before
    add(_RATE, str(case), receiver.name, sent.rate)
    add(_COST, str(case), receiver.name, used * 1000 / len(sent.answered))
    receiver.clear()


PART: Final = Part(
    name="receive",
    title="Receiving",
    text=(
        "Each receiver answers Success to one sender of the benchmark's own, with PDUs made before "
        "and TCP_NODELAY; each image is a study of its own. All sync what they stored before they "
        "answer, except pynetdicom as in its examples. Orthanc: no compression, SyncStorageArea, "
        "PDUs of 128 KiB, 72 threads; storescp: --fork --bit-preserving, PDUs of 128 KiB, an fsync "
        "of each file; both with TCP_NODELAY forced. Least Python reads PDUs from a plain socket, "
        "writes, hashes and syncs, without a check, a ledger or a header read: a bound for what "
        "Python can do. Lobar is its listener with ledger and Redis."
    ),
    ours="Lobar",
    seconds=240,
    quick_seconds=26,
    measure=measure,
    module="bench.parts.receive",
)

if __name__ == "__main__":
    PART.main()
