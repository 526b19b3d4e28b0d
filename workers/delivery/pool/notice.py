"""A notice that outputs to a destination are due, for the thread that serves it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Notice:
    """Whether outputs became due since they were looked for; from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_given = False
        self._wake: Callable[[], object] | None = None

    @property
    def is_given(self) -> bool:
        """Whether outputs became due since `take`."""
        return self._is_given

    def give(self) -> None:
        """Note that outputs are due, and wake who waits for that."""
        with self._lock:
            self._is_given = True
            if self._wake is not None:
                self._wake()

    def take(self) -> None:
        """Note that outputs are being looked for."""
        self._is_given = False

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call `wake` when a notice is given while the block runs."""
        with self._lock:
            self._wake = wake
        try:
            yield
        finally:
            with self._lock:
                self._wake = None
