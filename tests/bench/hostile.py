"""Print what hostile instances cost a running service: pauses, delays and memory.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.hostile [FOLDER OF CASES]

The bars: no pause of analysis over 5 s and no restart during the flood; good instances behind bombs
delivered within 10 s; at most 2 GB for the whole service under any file.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from peers.dcmtk import StoreSCP
from support.hostile import (
    Part10,
    bomb,
    memory_by_process,
    send,
    watched_memory,
)
from support.lobar_process import SETTLED, LobarService, destination, wait_for
from support.system.http import HTTP
from support.system.radiographs import FOLDER
from synthetic.objects import make_cr

ROUNDS: Final = 25  # of the flood: each has ten hostile instances and a good one
GIGABYTE: Final = 1e9


def main() -> None:
    """Start a service and print a line for each measurement."""
    cases = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER / "cases"
    with tempfile.TemporaryDirectory(prefix="lobar-bench-") as name:
        folder = Path(name)
        (folder / "pacs").mkdir()
        pacs = StoreSCP(folder / "pacs")
        pacs.start()
        service = LobarService(folder, [destination(pacs, "pacs")])
        service.start()
        try:
            _measure(service, cases)
        finally:
            service.kill()
            pacs.kill()


def _measure(service: LobarService, cases: Path) -> None:
    idle = sum(memory_by_process(service.state_dir).values())
    _say("memory of the idle service", f"{idle / GIGABYTE:.2f} GB")
    _flood(service, cases)
    hostile = cases / "hostile"
    _bombs(service, "b400.dcm", [Part10.of((hostile / "b400.dcm").read_bytes()).renamed()] * 4)
    _bombs(service, "bombs of 30,000 scans", [Part10.of_dataset(bomb(30_000, 1000))] * 4)
    slow = [Part10.of_dataset(bomb(50, 9000)).renamed() for _ in range(6)]
    _bombs(service, "6 bombs of 60 scans of 81 megapixels", slow)
    for file in sorted(hostile.iterdir()):
        if file.suffix in {".dcm", ".png"}:
            _file(service, file)
    log = service.log.read_text()
    _say("parts that died or were stuck", str(log.count("part_died") + log.count("part_stuck")))
    _say("balance", str(service.balance()))


def _flood(service: LobarService, cases: Path) -> None:
    crash = Part10.of((cases / "hostile" / "crash.dcm").read_bytes())
    others = [Part10.of(each.read_bytes()) for each in sorted(cases.glob("crash__*"))]
    began = time.time()
    good = []
    with watched_memory(service.state_dir) as memory:
        for _ in range(ROUNDS):
            good.append(Part10.of_dataset(make_cr()))
            hostile = [*(crash.renamed() for _ in range(6))]
            hostile += [each.renamed() for each in others for _ in range(2)]
            send(service.dicom_port, *hostile, good[-1])
        uids = {each.sop_instance_uid for each in good}
        wait_for(lambda: all(job.state in SETTLED for job in service.all_jobs()))
    jobs = service.all_jobs()
    closed = sorted(job.reported_at or job.finished_at or 0 for job in jobs)
    reported = sorted(job.reported_at or 0 for job in jobs if job.sop_instance_uid in uids)
    _say(f"flood of {len(jobs)}: seconds", f"{max(closed) - began:.1f}")
    _say("  longest pause of analysis, s", f"{_longest(began, closed):.2f}")
    _say("  longest pause between good ones, s", f"{_longest(began, reported):.2f}")
    _say("  peak memory", f"{memory.peak / GIGABYTE:.2f} GB")


def _longest(began: float, times: Sequence[float]) -> float:
    return max(after - before for before, after in pairwise([began, *times]))


def _bombs(service: LobarService, name: str, bombs: Sequence[Part10]) -> None:
    behind = [Part10.of_dataset(make_cr()) for _ in range(3)]
    with watched_memory(service.state_dir) as memory:
        send(service.dicom_port, *bombs, *behind)
        began = time.monotonic()
        for each in behind:
            service.settled(each.sop_instance_uid)
        delivered = time.monotonic() - began
        ends = [service.settled(each.sop_instance_uid) for each in bombs]
    _say(f"{name}: good ones behind delivered after, s", f"{delivered:.2f}")
    _say("  their own end", f"{', '.join(sorted({str(job.reason or job.state) for job in ends}))}")
    _say("  last one closed after, s", f"{time.monotonic() - began:.1f}")
    _say("  peak memory", f"{memory.peak / GIGABYTE:.2f} GB")


def _file(service: LobarService, file: Path) -> None:
    began = time.monotonic()
    with watched_memory(service.state_dir) as memory:
        if file.suffix == ".png":
            files = {"files": (file.name, file.read_bytes())}
            answer = HTTP.post(f"{service.url}/api/instances", files=files, timeout=120)
            found = f"HTTP {answer.status_code}"
        else:
            instance = Part10.of(file.read_bytes()).renamed()
            (status,) = send(service.dicom_port, instance)
            found = "context rejected" if status is None else f"0x{status:04X}"
        answered = time.monotonic() - began
        wait_for(lambda: all(job.state in SETTLED for job in service.all_jobs()))
        last = service.all_jobs()[0]
        time.sleep(0.2)
    if found in {"0x0000", "HTTP 201"}:
        found += f", {last.reason or last.state} at attempt {last.attempt}"
    seconds = f"answered {answered:.2f} s, closed {time.monotonic() - began - 0.2:.2f} s"
    _say(file.name, f"{memory.peak / GIGABYTE:.2f} GB, {seconds}: {found}")


def _say(what: str, figure: str) -> None:
    print(f"{what:<55} {figure}", flush=True)


if __name__ == "__main__":
    main()
