"""How long each part takes to be ready, and the memory of each process.

PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.parts.startup
"""

import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
from bench.harness.part import Measurement, Part
from bench.harness.processes import role_of
from bench.harness.radiographs import jpeg_2000
from bench.harness.service import Durable, prepared
from bench.parts.end_to_end import burst
from support.lobar_process import LobarService, processes_of

from service.storage.ledger import LedgerError

_PSS: Final = "all its processes (PSS)"
_RSS: Final = "largest process (RSS)"


def measure(measurement: Measurement) -> None:
    """Start a whole service several times."""
    for _ in measurement.rounds(1 if measurement.quick else 3):
        with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
            _start_once(prepared(Path(name)), measurement)


def _start_once(durable: Durable, measurement: Measurement) -> None:
    service = durable.service
    try:
        began = time.monotonic()
        watch = _ReadyWatch(service, began)
        service.start()
        ready = time.monotonic() - began
        for role, seconds in watch.stop().items():
            measurement.add("Seconds until ready", role, "Lobar", seconds)
        measurement.add("Seconds until ready", "the whole service", "Lobar", ready)
        _add_memory(service, "Memory when ready, MB", measurement)
        if not measurement.quick:
            burst(durable, jpeg_2000(), 24)
            _add_memory(service, "Memory after 24 images, MB", measurement)
    finally:
        service.kill()
        durable.pacs.kill()


class _ReadyWatch:
    """Notes when the heartbeat of each part first says that it is ready."""

    def __init__(self, service: LobarService, began: float) -> None:
        self._service, self._began = service, began
        self._ready: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Return the seconds of each role."""
        time.sleep(0.3)
        self._ended.set()
        self._thread.join()
        return self._ready

    def _run(self) -> None:
        file = self._service.state_dir / "ledger.sqlite3"
        while not self._ended.wait(0.1):
            if not file.exists():
                continue
            try:
                ledger = self._service.ledger()
                beats = ledger.heartbeats.alive(20)
                ledger.close()
            except LedgerError:
                continue  # its tables are being made
            for beat in beats:
                if beat.ready:
                    self._ready.setdefault(beat.role, time.monotonic() - self._began)


def _add_memory(service: LobarService, table: str, measurement: Measurement) -> None:
    pss: dict[str, float] = defaultdict(float)
    rss: dict[str, float] = defaultdict(float)
    for pid in processes_of(service.state_dir):
        try:
            process = psutil.Process(pid)
            role = role_of(process)
            memory = process.memory_full_info()
        except psutil.Error:  # it ended meanwhile
            continue
        pss[role] += memory.pss / 1e6
        rss[role] = max(rss[role], memory.rss / 1e6)
    for role in sorted(pss):
        measurement.add(table, role, _PSS, pss[role])
        measurement.add(table, role, _RSS, rss[role])
    measurement.add(table, "together", _PSS, sum(pss.values()))


PART: Final = Part(
    name="start-up",
    title="Start-up and memory",
    text=(
        "A whole service on an empty state directory. A part is ready when its heartbeat says so, "
        "which comes up to 0.25 s later. PSS counts pages that processes share once; the decoders "
        "count to infer and web."
    ),
    seconds=45,
    quick_seconds=5,
    measure=measure,
    module="bench.parts.startup",
)

if __name__ == "__main__":
    PART.main()
