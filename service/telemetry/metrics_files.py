"""Metrics files whose pages are allocated on the disk before they are written.

Prometheus' client maps sparse files into memory. A write to an unallocated page on a full disk ends
the process with SIGBUS: the listener would die when it should respond "out of resources".
"""

import os
from typing import Final

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

ALLOCATED_BYTES: Final = 1 << 18  # several times what all series of one type need


class AllocatedDict(MmapedDict):
    """Prometheus' memory-mapped dictionary, on a file that is allocated first.

    Raises:
        OSError: The disk is full. This shows when the process starts, not while it works.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:  # noqa: FBT001, FBT002 -- as in the library
        if not read_mode:
            _allocate(filename)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]


def allocate_before_counting() -> None:
    """Make Prometheus' client use `AllocatedDict` in this process."""
    values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]


def _allocate(filename: str) -> None:
    descriptor = os.open(filename, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(descriptor).st_size == 0:
            os.posix_fallocate(descriptor, 0, ALLOCATED_BYTES)
    finally:
        os.close(descriptor)
