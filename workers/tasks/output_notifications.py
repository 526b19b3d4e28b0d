"""Notify the deliver worker of outputs: once for reports that are made at the same time."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

MOST_TOGETHER: Final = 4  # reports; the outputs of the first wait for those of the last


class OutputNotifications:
    """Sends a notification when the last of the reports that are being made is done.

    A notification costs its sender and its receiver together half as much as a report, and who
    receives it sends all that is due. A report that is made alone is announced at once.
    """

    def __init__(self, notify: Callable[[str], None], most_together: int = MOST_TOGETHER) -> None:
        """Send notifications for a destination, by its name, with `notify`."""
        self._notify = notify
        self._most_together = most_together
        self._lock = threading.Lock()
        self._being_made = 0
        self._made = 0  # since the last notification
        self._destinations: set[str] = set()

    @contextmanager
    def report(self) -> Iterator[Callable[[Iterable[str]], None]]:
        """Make one report while the block runs; from several threads at once.

        Yields:
            What is to be called with the names of the destinations when its outputs are due.
        """
        with self._lock:
            self._being_made += 1
        try:
            yield self._note
        finally:
            for name in self._end():
                self._notify(name)

    def _note(self, destinations: Iterable[str]) -> None:
        with self._lock:
            self._destinations.update(destinations)

    def _end(self) -> list[str]:
        """End a report; return the destinations to notify now."""
        with self._lock:
            self._being_made -= 1
            self._made += 1
            if self._being_made and self._made < self._most_together:
                return []
            self._made = 0
            found, self._destinations = self._destinations, set()
            return sorted(found)
