"""Errors of the environment: of the disk, the memory, the device or the predictor."""

import errno
from collections.abc import Iterator
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """A fault of the environment: work waits until it is gone."""

    DISK_FULL = "disk-full"
    DISK_BROKEN = "disk-broken"
    OUT_OF_MEMORY = "out-of-memory"
    OUT_OF_FILE_DESCRIPTORS = "out-of-file-descriptors"
    DEVICE_FAILED = "device-failed"
    PREDICTOR_FAILED = "predictor-failed"
    DECODERS_LOST = "decoders-lost"

    @property
    def may_end_with_process(self) -> bool:
        """Whether another process may work: this one may have leaked, or lost its device."""
        return self not in {Fault.DISK_FULL, Fault.DISK_BROKEN}

    @property
    def may_be_of_job(self) -> bool:
        """Whether it can be of one instance: its size, its values, its file."""
        return self in {
            *(Fault.OUT_OF_MEMORY, Fault.DEVICE_FAILED, Fault.PREDICTOR_FAILED),
            Fault.DISK_BROKEN,  # where a disk has lost one sector
        }


_BY_ERRNO: Final = {
    errno.ENOSPC: Fault.DISK_FULL,
    errno.EDQUOT: Fault.DISK_FULL,
    errno.EFBIG: Fault.DISK_FULL,  # RLIMIT_FSIZE
    errno.ENOMEM: Fault.OUT_OF_MEMORY,
    errno.EMFILE: Fault.OUT_OF_FILE_DESCRIPTORS,
    errno.ENFILE: Fault.OUT_OF_FILE_DESCRIPTORS,
    # not EINVAL or EOVERFLOW: a wrong offset in a file makes seek() raise those
    **dict.fromkeys(
        (
            *(errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENXIO),
            *(errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
        ),
        Fault.DISK_BROKEN,
    ),
}
# of a RuntimeError: torch has no type of its own for most of them
_MEMORY_MESSAGES: Final = (
    *("out of memory", "can't allocate memory", "bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED"),
    "can't start new thread",
)
_DEVICE_MESSAGES: Final = ("CUDA error", "cuDNN error", "CUBLAS_STATUS", "device-side assert")


def fault_of(error: BaseException) -> Fault | None:
    """Return the fault of the environment behind an error; None where a job may be the cause.

    A missing received file is not asked about: the caller knows which file it expected.
    """
    return next((fault for each in _causes(error) if (fault := _fault(each))), None)


def _fault(error: BaseException) -> Fault | None:
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return Fault.OUT_OF_MEMORY
    return _of_torch(error) if isinstance(error, RuntimeError) else None


def _of_torch(error: RuntimeError) -> Fault | None:
    if any(each in str(error) for each in _MEMORY_MESSAGES):
        return Fault.OUT_OF_MEMORY
    if type(error).__name__ == "AcceleratorError":  # torch's; its module is not imported here
        return Fault.DEVICE_FAILED
    return Fault.DEVICE_FAILED if any(each in str(error) for each in _DEVICE_MESSAGES) else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
