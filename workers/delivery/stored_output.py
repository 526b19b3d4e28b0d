"""One object on its way out: read from the outbox, its twin, and what was answered to it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info

from service.dicom.statuses import (
    ATTRIBUTE_LIST_ERROR,
    ATTRIBUTE_VALUE_OUT_OF_RANGE,
    DUPLICATE_SOP_INSTANCE,
    OUT_OF_RESOURCES_CODES,
    SERVICE_CLASS_WARNINGS,
    SUCCESS,
    WARNING,
)
from service.domain.delivery import Reference
from service.domain.routing import OutputKind
from workers.reporting.output import Output, as_comprehensive

WARNINGS: Final = frozenset(
    {
        WARNING,
        ATTRIBUTE_LIST_ERROR,
        ATTRIBUTE_VALUE_OUT_OF_RANGE,
        DUPLICATE_SOP_INSTANCE,  # it has the object: one UID always names the same object
        *SERVICE_CLASS_WARNINGS,
    }
)
"""Statuses after which the destination has the object (PS3.7 annex C)."""

NO_CONNECTION: Final = "no-connection"
UNKNOWN_HOST: Final = "unknown-host"
What = TypeVar("What")


class NoResponseError(Exception):
    """The destination did not answer; the message is one word of ours saying how."""


class DestinationUnavailableError(NoResponseError):
    """It is the destination that cannot be reached now, whatever the object."""


class CorruptOutputError(Exception):
    """What lies in the outbox is not what was put there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResponse:
    """A destination's answer to one object, as a DIMSE status."""

    status: int
    sent: Reference  # the object it answered to: a twin has names of its own

    @property
    def sop_instance_uid(self) -> str:
        """The UID of the object it answered to."""
        return self.sent.sop_instance_uid

    @property
    def taken(self) -> bool:
        """Whether the destination has the object, with or without a warning."""
        return self.status == SUCCESS or self.warned

    @property
    def warned(self) -> bool:
        """Whether it has the object but changed or doubted something."""
        return self.status in WARNINGS

    @property
    def transient(self) -> bool:
        """Whether the same object may well be taken later, without anybody's doing."""
        return self.status in OUT_OF_RESOURCES_CODES


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an object of the outbox calls itself."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def reference(self) -> Reference:
        """Name it as other objects do."""
        return Reference(self.sop_class_uid, self.sop_instance_uid)


def read_names(path: Path) -> Names:
    """Read what an object calls itself.

    Raises:
        DamagedError: the bytes are no DICOM object any more.
        OSError: they cannot be read.
    """
    return _read(_names, path)


def read_dataset(path: Path) -> Dataset:
    """Read an object as a data set, for a destination that cannot take its bytes as they are.

    Raises:
        DamagedError: the bytes are no DICOM object any more.
        OSError: they cannot be read.
    """
    return _read(dcmread, path)


def comprehensive_fallback(dataset: Dataset, names: Names) -> Output:
    """Give the Comprehensive SR twin of a Comprehensive 3D SR."""
    original = Output(
        kind=OutputKind.SR,
        dataset=dataset,
        sop_class_uid=names.sop_class_uid,
        sop_instance_uid=names.sop_instance_uid,
    )
    return as_comprehensive(original)


def _names(path: Path) -> Names:
    meta = read_file_meta_info(path)
    return Names(
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
    )


def _read(how: Callable[[Path], What], path: Path) -> What:
    try:
        return how(path)
    except OSError:
        raise
    except Exception as exc:  # pydicom raises what damaged bytes make it raise
        raise CorruptOutputError(type(exc).__name__) from exc
