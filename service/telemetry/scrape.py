"""What `/metrics` answers: the counts of every process of this machine, those that died included.

Counts of the dead are added up in `gathered` files and their own removed, so that neither a count
is lost nor a folder fills up; gauges of the dead go. The folder belongs to one machine: memory
mapped over a network does not add up.
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
    """Give the metrics page of all processes and one more collector, and its content type.

    `accept` is the request's header: Prometheus asks for the format it prefers.
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
        """Add up; the dead are gathered first."""
        with _alone(self._directory):
            gather_dead(self._directory)
            files = [path for path in self._directory.glob("*.db") if path.stat().st_size > 0]
            return MultiProcessCollector.merge(map(str, files))  # type: ignore[no-untyped-call,no-any-return]


def gather_dead(directory: Path) -> None:
    """Add the counts of ended processes to the gathered ones and remove their files.

    Killed between the two, the next call counts those processes twice, which is the lesser
    fault: a sum that falls looks like a restart, one that lacks something hides it.
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
    """Read one file whole, or nothing of it when a power cut left it torn."""
    try:
        entries = AllocatedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        return [(key, value) for key, value, _, _ in entries]
    except FileNotFoundError:
        return []
    except _UNREADABLE:
        log.exception("metrics_file_torn")
        return []


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the directory against other readers, which gather too."""
    with (directory / "gather.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
