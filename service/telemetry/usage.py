"""What the process of a part uses of its machine, in its metrics."""

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from service.telemetry.metrics import PART_CPU_SECONDS, PART_MEMORY, PART_OPEN_FILES

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class PartUsage:
    """The processor time, memory and open files of this process, by its role."""

    def __init__(self, role: str) -> None:
        self._cpu = PART_CPU_SECONDS.labels(role=role)
        self._memory = PART_MEMORY.labels(role=role)
        self._open_files = PART_OPEN_FILES.labels(role=role)
        self._counted = 0.0  # processor time, in seconds

    def record(self) -> None:
        """Count the processor time since the last call, and set the rest as it is now."""
        used = time.process_time()
        self._cpu.inc(used - self._counted)
        self._counted = used
        with contextlib.suppress(OSError):  # without a file to spare: the heartbeat goes on
            self._memory.set(_resident_bytes())
            self._open_files.set(sum(1 for _ in Path("/proc/self/fd").iterdir()))


def _resident_bytes() -> int:
    """Return the size of the resident set, the second number of /proc/self/statm (proc(5))."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
