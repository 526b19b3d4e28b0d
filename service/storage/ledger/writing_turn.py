"""Let the writers of SQLite, which has one at a time, come one after another and at once.

SQLite lets a writer that finds another one sleep, for 1 ms at first and up to 100 ms each time, and
the one that comes when the other ends is next: of forty threads the last would wait for seconds,
and two processes that write much each wait longer than the other writes.
"""

import fcntl
import os
import select
import stat
import threading
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final

_PATIENCE_SECONDS: Final = 1.0  # with other processes; then SQLite's own waiting begins
_LOOK_MILLISECONDS: Final = 5  # in case that no process was left to say that its turn ended
_ALL_WORDS: Final = 1 << 16  # what a FIFO holds
_WORD: Final = b"."


class TurnTakenError(Exception):
    """Other threads of this process wrote for as long as one waits."""


class WritingTurn(AbstractContextManager[None]):
    """The turn to write of one thread in this process, and of this process among others.

    Between processes it is a lock on a FIFO beside the database, which the kernel releases with its
    process, and in which a process says that its turn has ended. It is a courtesy: who does not get
    it within a second, as from a process that was stopped, goes on without it, and waits no more
    until it is free again, since SQLite's own lock is what keeps writers apart.

    Args:
        seconds: for how long a thread waits for the others.
        path: of the FIFO; None where no other process can write.
    """

    def __init__(self, seconds: float, path: Path | None) -> None:
        self._seconds = seconds
        self._path = path
        self._lock = threading.Lock()
        self._fifo: int | None = None
        self._is_ours = False
        self._patience = _PATIENCE_SECONDS

    def __enter__(self) -> None:
        """Wait for the turn.

        Raises:
            TurnTakenError: other threads have it for too long.
        """
        if not self._lock.acquire(timeout=self._seconds):
            raise TurnTakenError
        try:
            self._await_others()
        except BaseException:
            self._lock.release()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            if self._is_ours and self._fifo is not None:
                self._is_ours = False
                fcntl.flock(self._fifo, fcntl.LOCK_UN)
                with suppress(BlockingIOError):  # it is full: all who wait have something to read
                    os.write(self._fifo, _WORD)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the FIFO; another turn opens it again. A thread that writes keeps it open."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._fifo is not None:
                os.close(self._fifo)
            self._fifo = None
        finally:
            self._lock.release()

    def _await_others(self) -> None:
        if self._fifo is None and self._path is not None:
            self._fifo = _open(self._path)
        if self._fifo is None:
            self._path = None  # the file system has no FIFOs, or no locks on them
            return
        until = time.monotonic() + self._patience
        self._is_ours = _lock(self._fifo)
        while not self._is_ours and time.monotonic() < until:
            _await_word(self._fifo)
            self._is_ours = _lock(self._fifo)
        self._patience = _PATIENCE_SECONDS if self._is_ours else 0.0


def _open(path: Path) -> int | None:
    """Open the FIFO, which is made if there is none; None where there can be none."""
    try:
        with suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        is_ours = _lock(fifo)  # to see that there are locks
        if stat.S_ISFIFO(os.fstat(fifo).st_mode):
            if is_ours:
                fcntl.flock(fifo, fcntl.LOCK_UN)
            return fifo
    os.close(fifo)
    return None


def _lock(fifo: int) -> bool:
    try:
        fcntl.flock(fifo, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another process has it
        return False
    return True


def _await_word(fifo: int) -> None:
    """Wait until a process says that its turn has ended; every word that is there is read."""
    poll = select.poll()  # not select(), which knows the first 1,024 descriptors only
    poll.register(fifo, select.POLLIN)
    if poll.poll(_LOOK_MILLISECONDS):
        with suppress(BlockingIOError):  # another one that waits was first
            os.read(fifo, _ALL_WORDS)
