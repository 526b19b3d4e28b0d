"""Whose fault an error is: the environment's, or perhaps the job's."""

import errno

import pytest

from service.storage.faults import Fault, fault_of


class OutOfMemoryError(RuntimeError):
    """The name of torch's error, without torch."""


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(errno.ENOSPC, "no space"), Fault.DISK_FULL),
        (OSError(errno.EDQUOT, "quota"), Fault.DISK_FULL),
        (OSError(errno.EIO, "input/output error"), Fault.DISK_BROKEN),
        (OSError(errno.EROFS, "read-only"), Fault.DISK_BROKEN),
        (OSError(errno.EMFILE, "too many files"), Fault.OUT_OF_FILE_DESCRIPTORS),
        (MemoryError(), Fault.OUT_OF_MEMORY),
        (OutOfMemoryError("of the device"), Fault.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: an illegal memory access"), Fault.DEVICE_FAILED),
        (RuntimeError("as a library might"), None),
        (OSError("broken data stream"), None),  # as PIL says of a damaged picture
        (OSError(errno.EINVAL, "seek to a negative offset"), None),
    ],
)
def test_an_error_is_told_apart_by_what_it_says(error: Exception, fault: Fault | None) -> None:
    assert fault_of(error) is fault


def test_the_cause_of_an_error_counts() -> None:
    wrapped = RuntimeError("a transform failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "no space")
    assert fault_of(wrapped) is Fault.DISK_FULL
