"""Samples of the processes of a service, and the judgement whether they grow."""

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.lobar_process import processes_of

WARM_UP: Final = 0.25  # of the time: caches, pools and the first of each kind of work
MOST_DESCRIPTORS: Final = 6
MOST_THREADS: Final = 6
MOST_BYTES: Final = 24 << 20
MOST_GROWTH: Final = 1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a process held at one time."""

    at: float
    rss_bytes: int
    descriptors: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """What a process held in the first and in the last third after the warm-up, as medians."""

    process: str
    samples: int
    first: Sample
    last: Sample

    def growth(self) -> list[str]:
        """Say what grew beyond its bound.

        A descriptor or thread lost with each association is some hundreds in a soak of minutes.
        """
        first, last = self.first, self.last
        found = []
        if last.descriptors > first.descriptors + MOST_DESCRIPTORS:
            found.append(f"{self.process}: descriptors {first.descriptors} to {last.descriptors}")
        if last.threads > first.threads + MOST_THREADS:
            found.append(f"{self.process}: threads {first.threads} to {last.threads}")
        if last.rss_bytes > first.rss_bytes * MOST_GROWTH + MOST_BYTES:
            found.append(f"{self.process}: memory {first.rss_bytes} to {last.rss_bytes} bytes")
        return found

    def line(self) -> str:
        """Describe the process in a line."""
        first, last = self.first, self.last
        return (
            f"{self.process:<40} RSS {first.rss_bytes / 1e6:.0f} -> {last.rss_bytes / 1e6:.0f} MB, "
            f"descriptors {first.descriptors} -> {last.descriptors}, "
            f"threads {first.threads} -> {last.threads} ({self.samples} samples)"
        )


class Samples:
    """Samples of each process, in the order of time."""

    def __init__(self) -> None:
        self._by_process: dict[str, list[Sample]] = defaultdict(list)

    def take(self, state_dir: Path) -> None:
        """Sample each process whose environment names the state directory; listeners together."""
        taken: dict[str, list[Sample]] = defaultdict(list)
        for pid in processes_of(state_dir):
            try:
                taken[_name(pid)].append(_sample(pid))
            except OSError:  # it ended meanwhile
                continue
        for name, samples in taken.items():
            alike = name if len(samples) == 1 else f"{name}, {len(samples)} processes"
            self.add(alike, _together(samples))

    def add(self, process: str, sample: Sample) -> None:
        """Add a sample."""
        self._by_process[process].append(sample)

    def trends(self) -> list[Trend]:
        """Compare the first with the last third after the warm-up, of what lived all along."""
        begin = min(each[0].at for each in self._by_process.values())
        end = max(each[-1].at for each in self._by_process.values())
        warm = begin + WARM_UP * (end - begin)
        third = (end - warm) / 3
        found = []
        for process, samples in self._by_process.items():
            first = [each for each in samples if warm <= each.at < warm + third]
            last = [each for each in samples if each.at >= end - third]
            if first and last:
                found.append(
                    Trend(
                        process=process,
                        samples=len(samples),
                        first=_median(first),
                        last=_median(last),
                    )
                )
        return found


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(
        at=statistics.median(each.at for each in samples),
        rss_bytes=int(statistics.median(each.rss_bytes for each in samples)),
        descriptors=int(statistics.median(each.descriptors for each in samples)),
        threads=int(statistics.median(each.threads for each in samples)),
    )


def _together(samples: Sequence[Sample]) -> Sample:
    """Add up what moves from one process to another, and keep the memory of the largest."""
    return Sample(
        at=max(each.at for each in samples),
        rss_bytes=max(each.rss_bytes for each in samples),
        descriptors=sum(each.descriptors for each in samples),
        threads=sum(each.threads for each in samples),
    )


def _name(pid: int) -> str:
    """Name a process by its number and command; connections move from listener to listener."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    words = [Path(each).name for each in words if each]
    if words[-1:] == ["listener"]:
        return "listener"
    return f"{pid} {' '.join(words[-3:])}"[:40]


def _sample(pid: int) -> Sample:
    process = Path(f"/proc/{pid}")
    status = (process / "status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Sample(
        at=time.monotonic(),
        rss_bytes=int(fields.get("VmRSS", "0 kB").split()[0]) * 1024,
        descriptors=len(list((process / "fd").iterdir())),
        threads=int(fields["Threads"]),
    )
