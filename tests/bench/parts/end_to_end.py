"""From Success to every output acknowledged: latency by rate, and images a second in a burst.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.end_to_end
"""

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Final

from bench.harness.part import Measurement, Part
from bench.harness.processes import seconds_by_role
from bench.harness.radiographs import Radiograph, jpeg_2000, uncompressed
from bench.harness.senders import Association, paced, send_for
from bench.harness.service import (
    Durable,
    NotDeliveredError,
    delivered,
    latencies,
    percentile,
    running,
)

RATES: Final = (1, 5, 10, 20, 40)  # images a second
_SUBJECT: Final = "Lobar"
_LATENCY: Final = "Success to all outputs acknowledged, ms"
_STAGES: Final = "Milliseconds after Success, median"
_COSTS: Final = "Processor time, ms an image of a burst"
_NEGLIGIBLE: Final = 0.1  # milliseconds
_THROUGHPUT: Final = "Images a second"
_SUSTAINED: Final = 0.9  # of the rate at which images are sent


def measure(measurement: Measurement) -> None:
    """Measure both kinds of image in one service."""
    kinds = [uncompressed(), jpeg_2000()]
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name, running(Path(name)) as durable:
        for kind in kinds:  # what is loaded for the first image
            burst(durable, kind, 4)
        for _ in measurement.rounds(1 if measurement.quick else 3):
            for kind in kinds:
                _latency_by_rate(durable, kind, measurement)
            sizes = kinds if measurement.quick else [*kinds, uncompressed(2048, 2048)]
            count = 12 if measurement.quick else 60
            for kind in sizes:
                before = seconds_by_role(durable.service.state_dir)
                rate = burst(durable, kind, count)
                _add_costs(durable, kind, before, count, measurement)
                measurement.add(_THROUGHPUT, f"{kind.name}, a burst of {count}", _SUBJECT, rate)


def _latency_by_rate(durable: Durable, kind: Radiograph, measurement: Measurement) -> None:
    for rate in RATES[:1] if measurement.quick else RATES:
        count = 3 if measurement.quick else min(max(10, rate * 4), 80)
        link = Association(durable.service.dicom_port, kind)
        answered = paced(rate, count, link.store)
        link.close()
        try:
            taken = latencies(durable.service, answered)
        except NotDeliveredError as error:
            measurement.leave_out(f"{kind.name} at {rate} images a second: {error}")
            return
        case = f"{kind.name}, {rate} image{'s' if rate > 1 else ''} a second"
        measurement.add(_LATENCY, f"{case}: p50", _SUBJECT, percentile(taken, 50))
        measurement.add(_LATENCY, f"{case}: p95", _SUBJECT, percentile(taken, 95))
        if rate == RATES[0]:
            _add_stages(durable, kind, answered, measurement)
        durable.clear()
        ends = [at + ms / 1000 for (_, at), ms in zip(answered, taken, strict=True)]
        if (count - 1) / (max(ends) - answered[0][1]) < _SUSTAINED * rate and rate > 1:
            return  # saturated: more only makes a longer queue


def _add_stages(
    durable: Durable,
    kind: Radiograph,
    answered: list[tuple[str, float]],
    measurement: Measurement,
) -> None:
    """Add when each event of the trace came, as a median."""
    since: dict[str, list[float]] = defaultdict(list)
    jobs = delivered(durable.service, [uid for uid, _ in answered])
    ledger = durable.service.ledger()
    for uid, at in answered:
        latest = {event.name: event.at for event in ledger.queries.trace(jobs[uid].id)}
        for name, when in latest.items():
            since[name].append((when - at) * 1000)
    ledger.close()
    for name, values in since.items():
        measurement.add(_STAGES, f"{kind.name}: {name}", _SUBJECT, percentile(values, 50))


def _add_costs(
    durable: Durable,
    kind: Radiograph,
    before: dict[str, float],
    count: int,
    measurement: Measurement,
) -> None:
    """Add what each role used of the processors, those that did anything."""
    after = seconds_by_role(durable.service.state_dir)
    for role in sorted(after):
        used = (after[role] - before.get(role, 0)) * 1000 / count
        if used > _NEGLIGIBLE:
            measurement.add(_COSTS, f"{kind.name}: {role}", _SUBJECT, used)


def burst(durable: Durable, kind: Radiograph, count: int) -> float:
    """Send instances as fast as they are taken; return how many a second pass through."""
    sent = send_for(
        600, kind, durable.service.dicom_port, associations=min(4, count), at_most=count
    )
    jobs = delivered(durable.service, [uid for uid, _ in sent.answered])
    first = min(at for _, at in sent.answered)
    durable.clear()
    return count / (max(job.finished_at or 0 for job in jobs.values()) - first)


PART: Final = Part(
    name="end-to-end",
    title="From Success to every output acknowledged",
    text=(
        "A whole service with its default settings and one destination, a storescp that syncs each "
        "file. Latency is from the answer to the sender until the ledger has the destination's "
        "answer to the last output (report and overlay), at a steady rate. It ends at the first "
        "rate of which less than 0.9 is sustained. A burst comes over 4 associations; its rate is "
        "from the first Success to the last output."
    ),
    seconds=140,
    quick_seconds=15,
    measure=measure,
    module="bench.parts.end_to_end",
)

if __name__ == "__main__":
    PART.main()
