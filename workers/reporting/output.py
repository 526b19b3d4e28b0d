"""A finished DICOM object, and the Comprehensive SR of a report for peers that take no 3D SR."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Final, Self

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ComprehensiveSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.domain.routing import OutputKind
from workers.reporting.raw_elements import encode_implicit, encoded_parts, raw_element, tag_of
from workers.reporting.uids import derive_uid

PREAMBLE: Final = bytes(128) + b"DICM"  # PS3.10 7.1


class ReportError(Exception):
    """No valid output can be built; the message gives the reason without patient data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A DICOM object about a source instance."""

    kind: OutputKind
    dataset: Dataset  # with its file_meta
    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def of(cls, kind: OutputKind, dataset: Dataset) -> Self:
        """Wrap a finished data set, with the UIDs of its file meta information."""
        meta = dataset.file_meta
        return cls(
            kind=kind,
            dataset=dataset,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        )

    def encode(self) -> bytes:
        """Encode the object as a DICOM file (PS3.10), patient and study elements byte for byte.

        The same output always has the same bytes. `dcmwrite(enforce_file_format=True)` writes
        them too, but warns where the source names a character set that pydicom does not know.
        """
        return encode_file(self.dataset)


def encode_file(dataset: Dataset, *, implicit: bool = False) -> bytes:
    """Encode a data set and its file meta information as a DICOM file, no value decoded.

    Args:
        dataset: an output as built, or as read from the outbox.
        implicit: encode in Implicit VR Little Endian instead of Explicit; for one that was read.
    """
    meta = FileMetaDataset(dataset.file_meta)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    buffer = DicomBytesIO()
    buffer.write(PREAMBLE)
    write_file_meta_info(buffer, meta, enforce_standard=True)
    elements = (dataset.get_item(tag) for tag in dataset.keys())  # noqa: SIM118 -- iterating a Dataset decodes
    parts = [encode_implicit(elements)] if implicit else encoded_parts(elements)
    return b"".join((buffer.getvalue(), *parts))


def file_meta(*, sop_class_uid: str, sop_instance_uid: str) -> FileMetaDataset:
    """Build the file meta information of an output (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def as_comprehensive(output: Output) -> Output:
    """Convert a Comprehensive 3D SR to a Comprehensive SR of the same content.

    It is the fallback for a peer that takes no Comprehensive 3D SR. The content tree uses SCOORD
    only, so it is legal in both. Series and SOP Instance UID are derived from the original's, so
    that a peer which holds both never sees two objects with one UID.
    """
    original = output.dataset
    instance_uid = derive_uid("comprehensive", output.sop_instance_uid)
    comprehensive = Dataset()
    for element in original.elements():
        comprehensive[element.tag] = element
    for keyword, uid in (
        ("SOPClassUID", ComprehensiveSRStorage),
        ("SOPInstanceUID", instance_uid),
        ("SeriesInstanceUID", derive_uid("comprehensive", str(original.SeriesInstanceUID))),
    ):  # new elements, because the data sets share the others
        comprehensive[keyword] = raw_element(tag_of(keyword), uid.encode())
    if "PredecessorDocumentsSequence" in original:
        comprehensive.PredecessorDocumentsSequence = [
            _comprehensive_predecessor(item) for item in original.PredecessorDocumentsSequence
        ]
    is_implicit_vr, is_little_endian = original.original_encoding
    comprehensive.set_original_encoding(
        is_implicit_vr, is_little_endian, original.original_character_set
    )
    comprehensive.file_meta = file_meta(
        sop_class_uid=ComprehensiveSRStorage, sop_instance_uid=instance_uid
    )
    return Output.of(output.kind, comprehensive)


def _comprehensive_predecessor(item: Dataset) -> Dataset:
    """Refer to the predecessor's Comprehensive SR, which is what this peer received."""
    study = deepcopy(item)
    for series in study.ReferencedSeriesSequence:
        series.SeriesInstanceUID = derive_uid("comprehensive", str(series.SeriesInstanceUID))
        for instance in series.ReferencedSOPSequence:
            uid = derive_uid("comprehensive", str(instance.ReferencedSOPInstanceUID))
            instance.ReferencedSOPInstanceUID = uid
            instance.ReferencedSOPClassUID = ComprehensiveSRStorage
    return study
