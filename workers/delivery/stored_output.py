"""One object of the outbox: its file, its Comprehensive SR fallback, the response to it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydicom.charset import default_encoding
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_file_meta_info
from pydicom.tag import BaseTag

from service.dicom.element_reader import read_file_meta
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
from workers.reporting.output import Output, as_comprehensive, encode_file

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
Content = TypeVar("Content")
Stored = TypeVar("Stored", Path, Dataset)


class NoResponseError(Exception):
    """The destination did not respond; the message is one fixed word for the cause."""


class DestinationUnavailableError(NoResponseError):
    """The destination cannot be reached now, whatever the object."""


class CorruptOutputError(Exception):
    """A file in the outbox is not the object that was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResponse:
    """A destination's response to one object, as a DIMSE status."""

    status: int
    sent: Reference  # the object that was sent: a fallback has UIDs of its own

    @property
    def sop_instance_uid(self) -> str:
        """The SOP Instance UID of the object that was sent."""
        return self.sent.sop_instance_uid

    @property
    def taken(self) -> bool:
        """Whether the destination has the object, with or without a warning."""
        return self.status == SUCCESS or self.warned

    @property
    def warned(self) -> bool:
        """Whether the destination has the object, with a warning."""
        return self.status in WARNINGS

    @property
    def transient(self) -> bool:
        """Whether the destination may take the same object later, although nothing is changed."""
        return self.status in OUT_OF_RESOURCES_CODES


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The UIDs in the File Meta Information of an object."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def reference(self) -> Reference:
        """The reference by which other objects name it."""
        return Reference(self.sop_class_uid, self.sop_instance_uid)


def read_names(path: Path) -> Names:
    """Read the UIDs of an object from its File Meta Information (PS3.10 7.1).

    Raises:
        CorruptOutputError: the file is not a DICOM object.
        OSError: the file cannot be read.
    """
    return _read(_names, path)


def read_dataset(path: Path) -> Dataset:
    """Read an object as a data set, for a destination that does not take its bytes as they are.

    Raises:
        CorruptOutputError: the file is not a DICOM object.
        OSError: the file cannot be read.
    """
    return _read(_undecoded, path)


def comprehensive_fallback(dataset: Dataset, names: Names) -> Output:
    """Build the Comprehensive SR fallback of a Comprehensive 3D SR."""
    original = Output(
        kind=OutputKind.SR,
        dataset=dataset,
        sop_class_uid=names.sop_class_uid,
        sop_instance_uid=names.sop_instance_uid,
    )
    return as_comprehensive(original)


def encode_converted(dataset: Dataset, *, implicit: bool) -> bytes:
    """Encode an object as a DICOM file for a destination that does not take its file as it is.

    Raises:
        CorruptOutputError: it has a sequence that cannot be read.
    """
    return _read(lambda content: encode_file(content, implicit=implicit), dataset)


def _names(path: Path) -> Names:
    meta = read_file_meta_info(path)
    return Names(
        sop_class_uid=str(meta.MediaStorageSOPClassUID),
        sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
    )


def _undecoded(path: Path) -> Dataset:
    """Read what `Output.encode` wrote; dcmread would decode Specific Character Set."""
    with path.open("rb") as file:
        meta = read_file_meta_info(path)
        file.seek(read_file_meta(file).offset)
        elements = data_element_generator(file, is_implicit_VR=False, is_little_endian=True)
        dataset = Dataset({BaseTag(element.tag): element for element in elements})
    dataset.file_meta = meta
    dataset.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=[default_encoding]
    )
    return dataset


def _read(parse: Callable[[Stored], Content], stored: Stored) -> Content:
    try:
        return parse(stored)
    except (OSError, MemoryError):  # not a fault of the file: it is sent later
        raise
    except Exception as exc:  # damaged bytes make pydicom raise many kinds
        raise CorruptOutputError(type(exc).__name__) from exc
