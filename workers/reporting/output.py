"""A finished DICOM object on its way to the outbox, and its twin for peers that take no 3D SR."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Final, Self

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID, ComprehensiveSRStorage, ExplicitVRLittleEndian

from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.domain.routing import OutputKind
from workers.reporting.raw_elements import encoded, raw_element, tag_of
from workers.reporting.uids import derive_uid

PREAMBLE: Final = bytes(128) + b"DICM"  # PS3.10 7.1


class ReportError(Exception):
    """No result can be built for this source; the message says why, without patient data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One object that Lobar made about a source instance."""

    kind: OutputKind
    dataset: Dataset  # with its file_meta
    sop_class_uid: str
    sop_instance_uid: str

    @classmethod
    def of(cls, kind: OutputKind, dataset: Dataset) -> Self:
        """Give a finished data set as an output, under the names that it has."""
        meta = dataset.file_meta
        return cls(
            kind=kind,
            dataset=dataset,
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
        )

    def encode(self) -> bytes:
        """Give the object as a DICOM file (PS3.10), patient and study elements byte for byte.

        The same output always gives the same bytes. `dcmwrite(enforce_file_format=True)` gives
        them too, but warns where the source names a character set that pydicom does not know.
        """
        buffer = DicomBytesIO()
        buffer.write(PREAMBLE)
        write_file_meta_info(buffer, self.dataset.file_meta, enforce_standard=True)
        elements = (self.dataset.get_item(tag) for tag in self.dataset.keys())  # noqa: SIM118 -- iterating a Dataset decodes
        return buffer.getvalue() + encoded(elements)


def file_meta(*, sop_class_uid: str, sop_instance_uid: str) -> FileMetaDataset:
    """Give the file meta information of an object of ours (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return meta


def as_comprehensive(output: Output) -> Output:
    """Give the Comprehensive SR that says the same, for a peer that takes no Comprehensive 3D SR.

    The tree uses SCOORD only, so it is legal in both. Series and SOP Instance UID are derived
    from the original's: a peer that holds both never sees two objects under one name.
    """
    original = output.dataset
    instance_uid = derive_uid("comprehensive", output.sop_instance_uid)
    twin = Dataset()
    for element in original.elements():
        twin[element.tag] = element
    for keyword, uid in (
        ("SOPClassUID", ComprehensiveSRStorage),
        ("SOPInstanceUID", instance_uid),
        ("SeriesInstanceUID", derive_uid("comprehensive", str(original.SeriesInstanceUID))),
    ):  # new elements: the other ones are the original's own
        twin[keyword] = raw_element(tag_of(keyword), uid.encode())
    if "PredecessorDocumentsSequence" in original:
        twin.PredecessorDocumentsSequence = [
            _twin_of_predecessor(item) for item in original.PredecessorDocumentsSequence
        ]
    is_implicit_vr, is_little_endian = original.original_encoding
    twin.set_original_encoding(is_implicit_vr, is_little_endian, original.original_character_set)
    twin.file_meta = file_meta(sop_class_uid=ComprehensiveSRStorage, sop_instance_uid=instance_uid)
    return Output.of(output.kind, twin)


def _twin_of_predecessor(item: Dataset) -> Dataset:
    """Refer to the twin of the report that was followed: it is what this peer was sent."""
    study = deepcopy(item)
    for series in study.ReferencedSeriesSequence:
        series.SeriesInstanceUID = derive_uid("comprehensive", str(series.SeriesInstanceUID))
        for instance in series.ReferencedSOPSequence:
            uid = derive_uid("comprehensive", str(instance.ReferencedSOPInstanceUID))
            instance.ReferencedSOPInstanceUID = uid
            instance.ReferencedSOPClassUID = ComprehensiveSRStorage
    return study
