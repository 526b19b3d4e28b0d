"""What open associations cost while nothing is sent, and what opening one costs.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.idle
"""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from bench.harness.part import Measurement, Part
from bench.harness.processes import processor_seconds
from bench.parts.receive import started
from bench.receivers.peers import Receiver
from peers.raw_scu import Closed, Rejected, Sender

OPEN: Final = (0, 10, 60)
_ECHOES: Final = 20


def measure(measurement: Measurement) -> None:
    """Measure each receiver, without associations, with some, and with many."""
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name, ExitStack() as running:
        receivers = list(started(Path(name), measurement, running))
        for _ in measurement.rounds(1 if measurement.quick else 3):
            for receiver in receivers:
                _set_up(receiver, measurement)
            for count in OPEN[1:2] if measurement.quick else OPEN:
                _idle(receivers, count, measurement)


def _set_up(receiver: Receiver, measurement: Measurement) -> None:
    taken = []
    for _ in range(_ECHOES):
        began = time.perf_counter()
        with Sender(receiver.port, calling="BENCH", called=receiver.ae_title) as sender:
            sender.echo()
            taken.append((time.perf_counter() - began) * 1000)
            sender.release()
    taken.sort()
    measurement.add("ms", "association and C-ECHO", receiver.name, taken[len(taken) // 2])


def _idle(receivers: Sequence[Receiver], count: int, measurement: Measurement) -> None:
    """Hold associations open at every receiver at once, and see what each uses meanwhile."""
    with ExitStack() as opened:
        held = []
        for receiver in receivers:
            try:
                for _ in range(count):
                    sender = Sender(receiver.port, calling="BENCH", called=receiver.ae_title)
                    opened.enter_context(sender)
            except (OSError, Closed, Rejected) as error:
                measurement.leave_out(f"{receiver.name}, {count} idle associations: {error}")
                continue
            held.append(receiver)
        before = [processor_seconds(each.pids()) for each in held]
        began = time.perf_counter()
        time.sleep(1 if measurement.quick else 3)
        passed = time.perf_counter() - began
        for receiver, used in zip(held, before, strict=True):
            share = (processor_seconds(receiver.pids()) - used) / passed
            case = f"{count} idle associations"
            measurement.add("Share of one core, %", case, receiver.name, share * 100)


PART: Final = Part(
    name="idle",
    title="Associations that are idle",
    text=(
        "Associations for Verification are held open at every receiver at the same time; what each "
        "uses of the processor meanwhile is read from the kernel. Set-up is A-ASSOCIATE and one "
        "C-ECHO, the median of 20."
    ),
    ours="Lobar",
    seconds=30,
    quick_seconds=5,
    measure=measure,
    module="bench.parts.idle",
)

if __name__ == "__main__":
    PART.main()
