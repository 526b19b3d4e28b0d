"""Files that metrics are counted in, with every page on the disk before it is written.

Prometheus' client maps files with holes. A write into a hole on a full disk ends the process with
SIGBUS: the listener would die at the very moment when it should answer "out of resources".
"""

import os
from typing import Final

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

ALLOCATED_BYTES: Final = 1 << 18  # several times what all our series of one type take


class AllocatedDict(MmapedDict):
    """Prometheus' dictionary in a file, the file made whole first.

    Raises:
        OSError: there is no room for it; better at the start of a process than in its midst.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:  # noqa: FBT001, FBT002 -- as in the library
        if not read_mode:
            _allocate(filename)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]


def allocate_before_counting() -> None:
    """Have Prometheus' client use `AllocatedDict` in this process."""
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]


def _allocate(filename: str) -> None:
    descriptor = os.open(filename, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size == 0:
            os.posix_fallocate(descriptor, 0, ALLOCATED_BYTES)
    finally:
        os.close(descriptor)
