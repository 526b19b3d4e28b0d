"""Errors of the environment: of the disk, the memory or the device, and of no job."""

import errno
from collections.abc import Iterator
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """A fault of the environment. It uses up no try of a job: work waits until it is gone."""

    DISK_FULL = "disk-full"
    DISK_BROKEN = "disk-broken"
    OUT_OF_MEMORY = "out-of-memory"
    OUT_OF_FILE_DESCRIPTORS = "out-of-file-descriptors"
    DEVICE_FAILED = "device-failed"
    PREDICTOR_FAILED = "predictor-failed"


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
_DEVICE_MESSAGES: Final = ("CUDA error", "cuDNN error", "CUBLAS_STATUS")


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
    if type(error).__name__ == "AcceleratorError":  # torch's; its module is not imported here
        return Fault.DEVICE_FAILED
    if isinstance(error, RuntimeError) and any(each in str(error) for each in _DEVICE_MESSAGES):
        return Fault.DEVICE_FAILED
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
