"""Build the demonstration instances: valid CR, DX and SC objects with synthetic pixels."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

# From label, seed, rows and columns to an image rows x columns in [0, 1].
Generate = Callable[[float, int, int, int], NDArray[np.float32]]
ACQUIRED: Final = datetime(2024, 1, 2, 9, 30)  # noqa: DTZ001 -- a DICOM time has no zone
SAYS_SYNTHETIC: Final = "Synthetic: drawn from population statistics, shows no person"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The properties of one instance."""

    name: str
    sop_class: UID
    modality: str
    transfer_syntax: UID
    label: float
    seed_offset: int
    rows: int
    columns: int
    bits_stored: int
    is_inverted: bool = False  # MONOCHROME1


SAMPLES: Final = (
    Sample(
        name="cr_monochrome1",
        sop_class=ComputedRadiographyImageStorage,
        modality="CR",
        transfer_syntax=ExplicitVRLittleEndian,
        label=0.0,
        seed_offset=1,
        rows=272,
        columns=344,
        bits_stored=10,
        is_inverted=True,
    ),
    Sample(
        name="dx_jpeg2000",
        sop_class=DigitalXRayImageStorageForPresentation,
        modality="DX",
        transfer_syntax=JPEG2000Lossless,
        label=1.0,
        seed_offset=2,
        rows=320,
        columns=416,
        bits_stored=12,
    ),
    Sample(
        name="sc_rle",
        sop_class=SecondaryCaptureImageStorage,
        modality="OT",
        transfer_syntax=RLELossless,
        label=0.0,
        seed_offset=3,
        rows=304,
        columns=384,
        bits_stored=8,
    ),
)


def write_samples(folder: Path, generate: Generate, *, seed: int) -> None:
    """Write every sample as `folder`/NAME.dcm; the same images give the same bytes."""
    for sample in SAMPLES:
        pixels = generate(sample.label, seed + sample.seed_offset, sample.rows, sample.columns)
        build_sample(sample, pixels).save_as(
            folder / f"{sample.name}.dcm", enforce_file_format=True
        )


def build_sample(sample: Sample, pixels: NDArray[np.float32]) -> FileDataset:
    """Build the DICOM object of a sample around `pixels`, HxW in [0, 1], bone bright."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sample.sop_class
    meta.MediaStorageSOPInstanceUID = _uid("instance", sample)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # pydicom accepts None for an object that is not from a file, against its annotation
    instance = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    for part in (_patient_and_study(sample), _pixels(sample, pixels), _SPECIFIC[sample.modality]()):
        instance.update(part)
    instance.SOPClassUID = sample.sop_class
    instance.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    if sample.transfer_syntax != ExplicitVRLittleEndian:
        instance.compress(sample.transfer_syntax, generate_instance_uid=False)
    return instance


def _uid(kind: str, sample: Sample) -> UID:
    name = f"lobar synthetic sample {kind} {sample.name}"
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}")  # PS3.5 B.2


def _patient_and_study(sample: Sample) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = "SYNTHETIC^SAMPLE"
    dataset.PatientID = "SYNTHETIC-1"
    dataset.PatientBirthDate = ""
    dataset.PatientAge = "003Y"  # the pixels are made of those of children of one to five years
    dataset.PatientSex = "O"
    dataset.PatientComments = SAYS_SYNTHETIC
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Never identified: synthetic pixels, invented header"
    dataset.StudyInstanceUID = _uid("study", sample)
    dataset.StudyID = "SYNTHETIC"
    dataset.AccessionNumber = f"SYN{sample.modality}"
    dataset.StudyDescription = "Synthetic chest radiograph"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = ACQUIRED.strftime("%Y%m%d")
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = ACQUIRED.strftime("%H%M%S")
    dataset.AcquisitionDate, dataset.AcquisitionTime = dataset.StudyDate, dataset.StudyTime
    dataset.SeriesInstanceUID = _uid("series", sample)
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.SeriesDescription = "Synthetic, shows no person"
    dataset.Modality = sample.modality
    dataset.Manufacturer = "Lobar (synthetic)"
    dataset.PatientOrientation = ["L", "F"]
    dataset.ImageComments = SAYS_SYNTHETIC
    dataset.BurnedInAnnotation = "NO"
    return dataset


def _pixels(sample: Sample, pixels: NDArray[np.float32]) -> Dataset:
    largest = (1 << sample.bits_stored) - 1
    values = np.rint((1 - pixels if sample.is_inverted else pixels) * largest)
    allocated = 8 if sample.bits_stored == 8 else 16  # noqa: PLR2004 -- a byte
    dataset = Dataset()
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if sample.is_inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = sample.rows, sample.columns
    dataset.BitsAllocated = allocated
    dataset.BitsStored, dataset.HighBit = sample.bits_stored, sample.bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.LossyImageCompression = "00"
    dataset.WindowCenter, dataset.WindowWidth = (largest + 1) / 2, largest + 1
    dataset.PixelData = values.astype(f"<u{allocated // 8}").tobytes()
    return dataset


def _computed_radiography() -> Dataset:
    dataset = Dataset()
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP"
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [0.9, 0.9]
    return dataset


def _digital_x_ray() -> Dataset:
    dataset = Dataset()
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "AP"
    dataset.ImageLaterality = "U"
    dataset.AnatomicRegionSequence = [_code("51185008", "Thorax")]
    dataset.ViewCodeSequence = [_code("399348003", "antero-posterior")]
    dataset.ViewCodeSequence[0].ViewModifierCodeSequence = []
    dataset.PositionerType = ""
    dataset.ImagerPixelSpacing = [0.8, 0.8]
    dataset.DetectorType = "DIRECT"
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.AcquisitionContextSequence = []
    return dataset


def _secondary_capture() -> Dataset:
    dataset = Dataset()
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.ConversionType = "SYN"
    dataset.BodyPartExamined = "CHEST"
    return dataset


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


_SPECIFIC: Final[dict[str, Callable[[], Any]]] = {
    "CR": _computed_radiography,
    "DX": _digital_x_ray,
    "OT": _secondary_capture,
}
