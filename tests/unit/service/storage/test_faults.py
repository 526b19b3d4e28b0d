"""Whose fault an error is: the environment's, or perhaps the job's."""

import errno

import pytest

from service.storage.faults import Fault, fault_of


class OutOfMemoryError(RuntimeError):
    """The name of torch's error, without torch."""


class AcceleratorError(RuntimeError):
    """The name of another of torch's errors."""


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
        (OSError(errno.EFBIG, "file too large"), Fault.DISK_FULL),
        (OSError(errno.ENFILE, "too many files"), Fault.OUT_OF_FILE_DESCRIPTORS),
        (OSError(errno.ENOMEM, "memory"), Fault.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), Fault.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Fault.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), Fault.OUT_OF_MEMORY),
        (RuntimeError("std::bad_alloc"), Fault.OUT_OF_MEMORY),
        (RuntimeError("can't start new thread"), Fault.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: an illegal memory access"), Fault.DEVICE_FAILED),
        (RuntimeError("CUDA error: device-side assert triggered"), Fault.DEVICE_FAILED),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), Fault.DEVICE_FAILED),
        (AcceleratorError("of the device"), Fault.DEVICE_FAILED),
        (AcceleratorError("CUDA error: out of memory"), Fault.OUT_OF_MEMORY),
        (ValueError("CUDA error"), None),  # not of torch
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


def test_what_another_process_may_heal_and_what_one_instance_may_cause() -> None:
    of_disk = {Fault.DISK_FULL, Fault.DISK_BROKEN}
    assert {fault for fault in Fault if not fault.may_end_with_process} == of_disk
    assert {fault for fault in Fault if fault.may_be_of_job} == {
        Fault.OUT_OF_MEMORY,
        Fault.DEVICE_FAILED,
        Fault.PREDICTOR_FAILED,
        Fault.DISK_BROKEN,
    }
