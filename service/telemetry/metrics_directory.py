"""The directory in which the processes of one machine count their metrics.

Prometheus' client decides on import whether it counts for one process or for several, so the
command calls `use_metrics_dir` before anything imports it. This module therefore never does.

Each process counts in its own files, named by an identity that is never used twice: process numbers
repeat, and in containers that share a volume even at the same time. While it runs, a process holds
a lock on `<identity>.alive`, which the kernel releases however the process ends.
"""

import fcntl
import os
import sys
import uuid
from pathlib import Path
from typing import Final

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


class _ProcessIdentity:
    """The identity of this process, and the lock that shows it running; a fork gets its own."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._name = ""
        self._lock: int | None = None

    def get(self) -> str:
        """Return the identity; it is asked for at each count."""
        pid = os.getpid()
        if self._pid != pid:
            directory = metrics_dir()
            if directory is None:
                raise RuntimeError("no metrics directory is in use")
            self.release()
            self._name = uuid.uuid4().hex
            aside = directory / f"{self._name}.born"
            self._lock = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # locked before it has this name, so that it is never seen unlocked while alive
            aside.rename(directory / f"{self._name}.alive")
            self._pid = pid
        return self._name

    def release(self) -> None:
        """Close the lock: in a forked child it is the parent's, and would outlive the parent."""
        if self._lock is not None:
            os.close(self._lock)
        self._pid = self._lock = None


_IDENTITY: Final = _ProcessIdentity()
os.register_at_fork(after_in_child=_IDENTITY.release)


def use_metrics_dir(path: Path) -> None:
    """Count in this directory with the machine's other processes; child processes inherit it.

    Raises:
        RuntimeError: prometheus_client is imported already, and counts for this process only.
        OSError: The directory cannot be created.
    """
    if "prometheus_client" in sys.modules and metrics_dir() != path:
        raise RuntimeError("use_metrics_dir comes before any import of prometheus_client")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ[VARIABLE] = str(path)  # noqa: TID251 -- how prometheus_client is configured


def metrics_dir() -> Path | None:
    """Return the directory in use; None when this process counts for itself only."""
    named = os.environ.get(VARIABLE)  # noqa: TID251 -- set by `use_metrics_dir`, here or in a parent
    return Path(named) if named else None


def process_identity() -> str:
    """Return the identity of this process in the directory in use.

    Raises:
        RuntimeError: No directory is in use.
    """
    return _IDENTITY.get()


def has_ended(alive: Path) -> bool:
    """Return whether the process of an `.alive` file has ended, however it ended."""
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
