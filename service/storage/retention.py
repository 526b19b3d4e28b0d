"""Retention: remove a finished job's bytes first, its row and trace much later.

The ledger marks the bytes of a job as gone before a file is removed; see `ledger.retention`.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from service.crash_points import CrashPoint, passed
from service.settings import Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool

DAY_SECONDS: Final = 86_400
AT_ONCE: Final = 1_000
_FOR_ROOM: Final = 10  # jobs that lose their bytes before it is measured again
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What retention did: jobs that lost their bytes, jobs that were forgotten."""

    by_age: int = 0
    by_size: int = 0
    freed_bytes: int = 0
    forgotten: int = 0
    is_held: bool = False  # a backup is being made, and nothing was removed

    @property
    def jobs(self) -> int:
        """How many times a job lost its bytes or its row."""
        return self.by_age + self.by_size + self.forgotten

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(
            by_age=self.by_age + other.by_age,
            by_size=self.by_size + other.by_size,
            freed_bytes=self.freed_bytes + other.freed_bytes,
            forgotten=self.forgotten + other.forgotten,
            is_held=self.is_held or other.is_held,
        )


class RetentionBusyError(Exception):
    """Retention, or another that keeps it from its work, is at work for too long."""


def purge(settings: Settings, ledger: Ledger, spool: Spool, *, at_once: int = AT_ONCE) -> Purged:
    """Remove finished jobs' bytes by age and by size, and their rows by age.

    Bytes go past `spool.keep_days`, or while the spool holds more than `spool.maximum_bytes`; rows
    past `ledger.keep_days`. Jobs in flight or parked are never removed. At most `at_once` jobs lose
    their bytes by each rule and as many their rows, so that the caller can do other work in
    between. While `held` is in force, nothing is removed.
    """
    keep_seconds = settings.spool.keep_days * DAY_SECONDS
    with _allowed(spool) as is_allowed:
        if not is_allowed:
            return Purged(is_held=True)
        by_age = ledger.retention.mark_older(keep_seconds, at_once)
        passed(CrashPoint.RETENTION_MARKED)
        freed = _discard_marked(ledger, spool, at_once)
        done = Purged(by_age=len(by_age), freed_bytes=freed)
        if settings.spool.maximum_bytes is not None:
            excess = spool.used_bytes() - settings.spool.maximum_bytes
            done += _make_room(ledger, spool, excess, keep_seconds, at_once)
        forgotten = ledger.retention.forget_older(settings.ledger.keep_days * DAY_SECONDS, at_once)
        passed(CrashPoint.RETENTION_FORGOTTEN)
        for job_id in forgotten:  # a worker that was presumed dead may have written since
            spool.discard(job_id)
        return done + Purged(forgotten=len(forgotten))


def _discard_marked(ledger: Ledger, spool: Spool, limit: int) -> int:
    """Remove the files of marked jobs, also of those that a crash left; return their bytes."""
    return sum(_discard(ledger, spool, job_id) for job_id in ledger.retention.marked(limit))


def _discard(ledger: Ledger, spool: Spool, job_id: str) -> int:
    def remove() -> int:
        freed = spool.discard(job_id)
        passed(CrashPoint.RETENTION_DISCARDED)
        return freed

    return ledger.retention.discard(job_id, remove)


def _make_room(
    ledger: Ledger, spool: Spool, excess: int, keep_seconds: float, limit: int
) -> Purged:
    """Remove the bytes of the jobs that finished first until `excess` bytes are free."""
    done = Purged()
    while done.freed_bytes < excess and done.by_size < limit:
        oldest = ledger.retention.mark_oldest(keep_seconds, min(_FOR_ROOM, limit - done.by_size))
        if not oldest:
            break
        freed = sum(_discard(ledger, spool, job_id) for job_id in oldest)
        done += Purged(by_size=len(oldest), freed_bytes=freed)
    return done


@contextmanager
def held(spool: Spool, wait_seconds: float) -> Iterator[None]:
    """Keep retention from removing anything while files are copied.

    Raises:
        RetentionBusyError: Another has the hold, or retention is at work, for `wait_seconds`.
    """
    until = time.monotonic() + wait_seconds
    with _lock_file(spool) as lock:
        while not _locks(lock, fcntl.LOCK_EX):
            if time.monotonic() >= until:
                raise RetentionBusyError
            time.sleep(_POLL_SECONDS)
        yield


@contextmanager
def _allowed(spool: Spool) -> Iterator[bool]:
    """Hold off a copy for the length of the block; False while one is made."""
    with _lock_file(spool) as lock:
        yield _locks(lock, fcntl.LOCK_SH)


@contextmanager
def _lock_file(spool: Spool) -> Iterator[int]:
    lock = os.open(spool.root / "retention.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


def _locks(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
