"""File descriptors: as many as the connections need, as far as this machine allows them."""

import resource
from typing import Final

import structlog

from service.settings import DicomSettings

PER_ASSOCIATION: Final = 4  # its socket, its event, the file being received, and one for its header
RESERVE: Final = 200  # the ledger, the broker, the log, metrics and the libraries
FEWEST_CONNECTIONS: Final = 16

log = structlog.get_logger()


def needed_descriptors(dicom: DicomSettings) -> int:
    """Return how many files a listener with these settings may have open."""
    return dicom.maximum_connections + _of_others(dicom)


def connections_that_fit(dicom: DicomSettings, most_descriptors: int) -> int:
    """Return how many connections may wait where no more than so many files can be open."""
    fit = min(dicom.maximum_connections, most_descriptors - _of_others(dicom))
    return max(FEWEST_CONNECTIONS, fit)


def reserve_descriptors(dicom: DicomSettings) -> int:
    """Raise the limit of open files as far as needed; return how many connections may wait."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = needed_descriptors(dicom)
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    fit = connections_that_fit(dicom, most)
    if most < needed:
        log.warning("descriptors_short", limit=hard, needed=needed, maximum_connections=fit)
    return fit


def _of_others(dicom: DicomSettings) -> int:
    return dicom.maximum_associations * PER_ASSOCIATION + RESERVE
