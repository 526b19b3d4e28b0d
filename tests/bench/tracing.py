"""Print what spans cost the thread that makes a step: off, exported, and dropped.

The collector is a stand-in in this process, which answers at once. The median of rounds.
"""

import statistics
import time
import uuid
from collections.abc import Callable
from typing import Final

from peers.collector import PATH, StandInCollector
from support.system.ports import LOOPBACK, free_port

from service.settings import TracingSettings
from service.telemetry.tracing.exporting import SpanExporter
from service.telemetry.tracing.spans import Step, Timed, record_span, use_sink

JOB: Final = uuid.uuid4().hex
ROUNDS: Final = 50
STEPS: Final = 80  # of a round: fewer than wait in the queue, so that none is dropped


def timed() -> None:
    """Make a step as the workers do."""
    with Timed((JOB,), Step.DELIVER, destination="pacs", kind="sr", attempt=1) as sending:
        sending.add(status="0x0000")


def recorded() -> None:
    """Record a step as the listener does."""
    record_span(JOB, Step.RECEIVE, 0.01, is_root=True, source="dicom", size_bytes=12)


def clocks() -> None:
    """Look at the clock twice, as each step did before there were spans."""
    time.monotonic()
    time.monotonic()


def microseconds(step: Callable[[], None]) -> float:
    """Return the median of the rounds for one call."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        found.append((time.perf_counter() - began) / STEPS * 1e6)
    return statistics.median(found)


def main() -> None:
    """Measure and print."""
    print(f"two looks at the clock          {microseconds(clocks):6.2f} µs")
    print(f"off, a step that is timed       {microseconds(timed):6.2f} µs")
    print(f"off, a step that is recorded    {microseconds(recorded):6.2f} µs")
    with StandInCollector().running() as collector:
        _export("exported", collector.endpoint)
    _export("dropped", f"http://{LOOPBACK}:{free_port()}{PATH}", most_waiting=1)


def _export(what: str, endpoint: str, most_waiting: int = 2 * ROUNDS * STEPS) -> None:
    spans = SpanExporter(TracingSettings(endpoint=endpoint), "bench", most_waiting=most_waiting)
    use_sink(spans.put)
    print(f"{what}, a step that is timed{'':{8 - len(what)}}  {microseconds(timed):6.2f} µs")
    use_sink(None)
    spans.close()


if __name__ == "__main__":
    main()
