"""libfaketime: gives the processes that are started with it a wall clock that a test sets.

It leaves CLOCK_MONOTONIC and CLOCK_BOOTTIME as they are, as a step of the real clock does, and the
times of files too. Its version 0.9.10 lets clock_nanosleep(2) fail, with which `time.sleep` of
Python 3.11 waits; in these processes `time.sleep` waits with select(2) instead.
"""

from pathlib import Path
from typing import Final

from support.system.programs import missing

_SITECUSTOMIZE: Final = """
import select
import time


def sleep(seconds):
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = sleep
"""


class WallClock:
    """A wall clock that differs from the machine's by what a test says, at any moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._file = folder / "offset"
        (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        self.offset = 0.0  # seconds
        self.set(0)

    def set(self, seconds: float) -> None:
        """Set the clock so far ahead of the machine's; less than 0 is behind."""
        aside = self._folder / "aside"
        aside.write_text(f"{seconds:+.0f}")
        aside.rename(self._file)
        self.offset = seconds

    def environment(self, python_path: str = "") -> dict[str, str]:
        """Return the environment variables of a process that is to have this clock."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # else each wait for Python's lock ends at once, and threads take it from each other
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",
            "PYTHONPATH": f"{self._folder}:{python_path}".rstrip(":"),
        }


def library() -> Path:
    """Return libfaketime's path; without it, skip the test, or fail it when CI=true."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        missing("no libfaketime on this machine: install the Debian package libfaketime")
    return found[0]
