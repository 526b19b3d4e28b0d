"""Pause pynetdicom's reactor thread while a request awaits its response.

The reactor thread of an association looks for messages whenever no request is under way. A sender
pauses it by clearing a checkpoint and then reading a flag. But the thread raises the flag before it
waits, whether or not it then passes (pynetdicom 3.0.4, `Association._run_reactor`): a thread that
passed a moment earlier looks for a message once more, finds the response to a quick peer's C-STORE,
and drops it. The sender then waits for its time-out. On a busy machine one object in some thousand
was lost so.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pynetdicom.association import Association

_POLL_SECONDS: Final = 0.2  # how often a waiting sender checks that the thread is alive


class Checkpoint(threading.Event):
    """A checkpoint that knows whether a thread waits at it, and so cannot pass any more."""

    def __init__(self) -> None:
        super().__init__()
        self._deciding = threading.Lock()
        self._occupied = threading.Event()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Pass if it is set, or wait until it is."""
        with self._deciding:
            if self.is_set():
                return True
            self._occupied.set()
        return super().wait(timeout)

    def close(self, association: Association) -> None:
        """Stop the association's thread; return when it waits here or has ended."""
        with self._deciding:
            self._occupied.clear()
            self.clear()
        while association.is_alive() and not self._occupied.wait(_POLL_SECONDS):
            continue


def install(association: Association) -> None:
    """Replace the checkpoint of an association that was just established."""
    association._reactor_checkpoint = Checkpoint()  # noqa: SLF001 -- there is no public way


@contextmanager
def held(association: Association) -> Iterator[None]:
    """Pause an association's thread, so that it cannot take the response to a request made here."""
    checkpoint = association._reactor_checkpoint  # noqa: SLF001 -- as above
    if isinstance(checkpoint, Checkpoint):
        checkpoint.close(association)
    try:
        yield
    finally:
        checkpoint.set()
