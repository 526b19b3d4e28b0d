"""Delivery: objects a second to each peer, by associations.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.delivery

`bench.delivery` measures; this makes figures of it.
"""

import importlib
import importlib.util
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.harness.part import Measurement, Part

PEERS: Final = {
    "storescp": "storescp as installed",
    "storescp --fork": "storescp --fork as installed",
    "orthanc": "Orthanc",
    "orthanc stow": "Orthanc, STOW-RS",
}
_MODULE: Final = "bench.delivery"
_OBJECTS: Final = 100


def measure(measurement: Measurement) -> None:
    """Let what is due be delivered to each peer, in turns over the ways to do so."""
    if importlib.util.find_spec(_MODULE) is None:
        measurement.leave_out("everything: this version has no bench.delivery")
        return
    delivery: Any = importlib.import_module(_MODULE)
    objects = _OBJECTS // 5 if measurement.quick else _OBJECTS
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        folder = Path(name)
        (folder / "state").mkdir()
        backlog = delivery.Backlog(folder / "state", objects)
        kinds = list(PEERS)[:1] if measurement.quick else list(PEERS)
        for kind in kinds:
            (folder / kind).mkdir()
        for number in measurement.rounds(1 if measurement.quick else 3):
            for kind in kinds:
                own = folder / kind / str(number)
                own.mkdir()
                with delivery.running(kind, own) as peer:
                    _add(delivery.measure(peer, backlog, 1, delivery.WAYS), kind, measurement)


def _add(found: dict[str, list[Any]], kind: str, measurement: Measurement) -> None:
    for way, runs in found.items():
        subject = way if way == "storescu" else f"Lobar, {way}"
        rates = [_OBJECTS / (5 if measurement.quick else 1) / each.seconds for each in runs]
        measurement.add("Objects a second", PEERS[kind], subject, *rates)
        if subject != way:
            costs = [each.own_ms for each in runs]
            measurement.add("Processor time, ms an object", PEERS[kind], subject, *costs)


PART: Final = Part(
    name="delivery",
    title="Delivery",
    text=(
        "Reports of 8 kB and overlays of 2.7 MB that are due in a ledger, sent by the deliver "
        "worker's own code over so many associations, each recorded when it is answered. The peers "
        "are as installed, not made durable. Plain is as pynetdicom sends; storescu sends the same "
        "files without a ledger."
    ),
    seconds=60,
    quick_seconds=8,
    measure=measure,
    module="bench.parts.delivery",
)

if __name__ == "__main__":
    PART.main()
