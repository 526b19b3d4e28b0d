"""Where the processes of one machine add up their metrics, and who of them still lives.

Prometheus' client decides when it is imported whether it counts for one process or for many, so the
command calls `use_metrics_dir` before anything imports it. This module therefore never does.

Every process counts in files of its own, named by an identity that is never used twice: process
numbers repeat, in containers that share a volume even at the same moment. It holds a lock on
`<identity>.alive` for as long as it lives, which no kind of death can leave behind.
"""

import fcntl
import os
import sys
import uuid
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


class _Life:
    """This process' identity and the lock that shows it alive; a fork gets its own."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._identity = ""
        self._lock: int | None = None

    def identity(self, directory: Path) -> str:
        pid = os.getpid()
        if self._pid != pid:
            self.end()
            self._identity = uuid.uuid4().hex
            aside = directory / f"{self._identity}.born"
            self._lock = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            aside.rename(directory / f"{self._identity}.alive")  # never seen unlocked while alive
            self._pid = pid
        return self._identity

    def end(self) -> None:
        """Let go of the lock: in a forked child it is the parent's, and would outlive it."""
        if self._lock is not None:
            os.close(self._lock)
        self._pid = self._lock = None


_LIFE: Final = _Life()
os.register_at_fork(after_in_child=_LIFE.end)


def use_metrics_dir(path: Path) -> None:
    """Count in this directory, together with the machine's other processes; children inherit it.

    Raises:
        RuntimeError: prometheus_client was imported before, so it would count for itself alone.
        OSError: the directory cannot be made.
    """
    if "prometheus_client" in sys.modules and metrics_dir() != path:
        raise RuntimeError("use_metrics_dir comes before any import of prometheus_client")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ[VARIABLE] = str(path)  # noqa: TID251 -- the only way to tell prometheus_client


def metrics_dir() -> Path | None:
    """Tell the directory in use; None when this process counts for itself alone."""
    named = os.environ.get(VARIABLE)  # noqa: TID251 -- set by `use_metrics_dir`, here or in a parent
    return Path(named) if named else None


def process_identity() -> str:
    """Name this process among all that ever counted in the directory in use.

    Raises:
        RuntimeError: no directory is in use.
    """
    directory = metrics_dir()
    if directory is None:
        raise RuntimeError("no metrics directory is in use")
    return _LIFE.identity(directory)


def has_ended(alive: Path) -> bool:
    """Tell whether the process behind an `.alive` file is gone, however it went."""
    try:
        descriptor = os.open(alive, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
