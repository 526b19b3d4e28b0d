"""The `/metrics` page: the sum over all processes of this machine, including those that ended.

The counts of ended processes are added to `gathered` files and their own files removed, so that no
count is lost and the directory does not fill up; their gauges are dropped. The directory belongs to
one machine: memory-mapped files do not work over a network.
"""

import fcntl
import os
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.telemetry.metrics_directory import has_ended, metrics_dir
from service.telemetry.metrics_files import AllocatedDict

log = structlog.get_logger()

_ADDED_UP: Final = ("counter", "histogram")
_UNREADABLE: Final = (RuntimeError, UnicodeDecodeError, struct.error)  # torn by a power cut


def exposition(more: Collector, accept: str = "") -> tuple[bytes, str]:
    """Build the metrics page of all processes and one more collector.

    Args:
        more: The additional collector.
        accept: The request's Accept header, by which the scraper chooses the format.

    Returns:
        The page and its content type.
    """
    registry = CollectorRegistry()
    directory = metrics_dir()
    registry.register(REGISTRY if directory is None else AllProcesses(directory))
    registry.register(more)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class AllProcesses(Collector):
    """The sum over all processes that ever counted in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Gather the files of ended processes, then add up all files."""
        with _lock(self._directory):
            gather_ended(self._directory)
            files = [path for path in self._directory.glob("*.db") if path.stat().st_size > 0]
            return MultiProcessCollector.merge(map(str, files))  # type: ignore[no-untyped-call,no-any-return]


def gather_ended(directory: Path) -> None:
    """Add the counts of ended processes to the gathered files, then remove their files.

    If this process is killed between the two, the next call counts them twice. That is the lesser
    fault: a counter that decreases looks like a restart, and lost counts would go unnoticed.
    """
    for alive in [path for path in directory.glob("*.alive") if has_ended(path)]:
        for kind in _ADDED_UP:
            own = directory / f"{kind}_{alive.stem}.db"
            if own.exists():
                _add_up(directory / f"{kind}_gathered.db", own)
                own.unlink()
        for gauge in directory.glob(f"gauge_*_{alive.stem}.db"):
            gauge.unlink()
        alive.unlink()


def _add_up(gathered: Path, own: Path) -> None:
    totals: defaultdict[str, float] = defaultdict(float)
    for path in (gathered, own):
        for key, value in _values(path):
            totals[key] += value
    aside = gathered.with_suffix(".aside")
    aside.unlink(missing_ok=True)
    sums = AllocatedDict(str(aside))
    for key, value in totals.items():
        sums.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    sums.close()  # type: ignore[no-untyped-call]
    with aside.open("rb") as written:
        os.fsync(written.fileno())
    aside.rename(gathered)


def _values(path: Path) -> list[tuple[str, float]]:
    """Read one file, or nothing when it is torn by a power cut."""
    try:
        entries = AllocatedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        return [(key, value) for key, value, _, _ in entries]
    except FileNotFoundError:
        return []
    except _UNREADABLE:
        log.exception("metrics_file_torn")
        return []


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Lock the directory against other scrapes, which gather too."""
    with (directory / "gather.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
