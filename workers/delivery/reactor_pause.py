"""Holds pynetdicom's reactor while a request of ours awaits its answer.

An association's own thread looks for messages between ours, and a sender stops it by clearing a
checkpoint and then reading a flag. But the flag is raised before the thread waits, whether or not
it then passes (pynetdicom 3.0.4, `Association._run_reactor`): one that passed a moment earlier
still looks once more for a message, finds the answer to a quick peer's C-STORE, and drops it. The
sender then waits for its time-out. On a busy machine that befell one object in some thousand.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pynetdicom.association import Association

_LOOK_SECONDS: Final = 0.2  # how often somebody who waits sees whether the thread still lives


class Checkpoint(threading.Event):
    """A checkpoint that knows whether somebody stands at it, and so cannot pass any more."""

    def __init__(self) -> None:
        super().__init__()
        self._deciding = threading.Lock()
        self._occupied = threading.Event()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Pass, or stand here until it is set."""
        with self._deciding:
            if self.is_set():
                return True
            self._occupied.set()
        return super().wait(timeout)

    def close(self, association: Association) -> None:
        """Let nobody pass, and return when the association's thread stands here or has ended."""
        with self._deciding:
            self._occupied.clear()
            self.clear()
        while association.is_alive() and not self._occupied.wait(_LOOK_SECONDS):
            continue


def install(association: Association) -> None:
    """Give an association that was just established a checkpoint that can be relied on."""
    association._reactor_checkpoint = Checkpoint()  # noqa: SLF001 -- there is no public way


@contextmanager
def held(association: Association) -> Iterator[None]:
    """Keep an association's thread from taking what is the answer to a request made in here."""
    checkpoint = association._reactor_checkpoint  # noqa: SLF001 -- as above
    if isinstance(checkpoint, Checkpoint):
        checkpoint.close(association)
    try:
        yield
    finally:
        checkpoint.set()
