"""Build small, valid synthetic instances of no real person."""

from collections.abc import Sequence
from typing import Final, TypedDict, Unpack

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_IMPLEMENTATION_UID,
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from synthetic.codecs import encode
from synthetic.pictures import Picture, chest

__all__ = ["Wanted", "encode", "make_cr", "make_dx", "make_sc"]

ROWS: Final = 384
COLUMNS: Final = 320


class Wanted(TypedDict, total=False):
    """Options of the makers; anything else is set on the returned data set."""

    rows: int  # 384
    columns: int  # 320
    photometric: str  # MONOCHROME2, MONOCHROME1; for make_sc also RGB, with 8 bits
    bits_stored: int  # 12, for make_sc 8; up to 8 are allocated 8, up to 16 are allocated 16
    signed: bool  # False; two's complement, the same picture
    charset: str | Sequence[str]  # ISO_IR 192
    patient_name: str  # Test^Patient
    birth_date: str  # 20220615: three years old, in a population that is validated


def make_cr(**wanted: Unpack[Wanted]) -> Dataset:
    """Build a Computed Radiography image (PS3.3 A.2) of a chest, postero-anterior."""
    dataset = _radiograph(ComputedRadiographyImageStorage, "CR", wanted)
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = "PA"
    dataset.ImagerPixelSpacing = [1.1, 1.1]
    return dataset


def make_dx(*, for_processing: bool = False, **wanted: Unpack[Wanted]) -> Dataset:
    """Build a Digital X-Ray image (PS3.3 A.26) of a chest, for presentation or for processing."""
    sop_class = (
        DigitalXRayImageStorageForProcessing
        if for_processing
        else DigitalXRayImageStorageForPresentation
    )
    dataset = _radiograph(sop_class, "DX", wanted)
    dataset.PresentationIntentType = "FOR PROCESSING" if for_processing else "FOR PRESENTATION"
    dataset.BodyPartExamined = "CHEST"
    dataset.AnatomicRegionSequence = [_code("51185008", "Chest")]
    dataset.ImageLaterality = "U"
    dataset.ViewPosition = "PA"
    view = _code("272479007", "postero-anterior")
    view.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view]
    dataset.PositionerType = "NONE"
    dataset.DetectorType = "DIRECT"
    dataset.ImagerPixelSpacing = [1.1, 1.1]
    dataset.PixelIntensityRelationship = "LIN" if for_processing else "LOG"
    inverse = dataset.PhotometricInterpretation == "MONOCHROME1"
    dataset.PixelIntensityRelationshipSign = 1 if inverse else -1
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.RescaleIntercept = 0
    dataset.RescaleSlope = 1
    dataset.RescaleType = "US"
    dataset.AcquisitionContextSequence = []
    if not for_processing:
        dataset.WindowCenter = 2 ** (dataset.BitsStored - 1)
        dataset.WindowWidth = 2**dataset.BitsStored
    return dataset


def make_sc(**wanted: Unpack[Wanted]) -> Dataset:
    """Build a Secondary Capture image (PS3.3 A.8): a digitised film, with 8 bits by default."""
    defaults: Wanted = {"bits_stored": 8}
    dataset = _radiograph(SecondaryCaptureImageStorage, "CR", {**defaults, **wanted})
    dataset.ConversionType = "DF"
    dataset.BodyPartExamined = "CHEST"
    return dataset


def _radiograph(sop_class: str, modality: str, wanted: Wanted) -> Dataset:
    """Build what the three kinds share: patient, study, series, equipment, pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SpecificCharacterSet = wanted.get("charset", "ISO_IR 192")
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.PatientName = wanted.get("patient_name", "Test^Patient")
    dataset.PatientID = "TEST-1"
    dataset.PatientBirthDate = wanted.get("birth_date", "20220615")
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = generate_uid()
    dataset.StudyID = "1"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = "20260102"
    dataset.ContentDate = dataset.InstanceCreationDate = "20260102"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = "101500"
    dataset.ContentTime = dataset.InstanceCreationTime = "101500"
    dataset.AccessionNumber = "TEST-ACC-1"
    dataset.ReferringPhysicianName = ""
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = 1
    dataset.Modality = modality
    dataset.Manufacturer = "Lobar's tests"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.PatientOrientation = ["L", "F"]
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    _add_pixels(dataset, wanted)
    return dataset


def _add_pixels(dataset: Dataset, wanted: Wanted) -> None:
    """Add the picture and its attributes (PS3.3 C.7.6.3)."""
    bits = wanted.get("bits_stored", 12)
    photometric = wanted.get("photometric", "MONOCHROME2")
    signed = wanted.get("signed", False)
    picture = chest(wanted.get("rows", ROWS), wanted.get("columns", COLUMNS), bits)
    if photometric == "MONOCHROME1":
        picture = 2**bits - 1 - picture
    if signed:
        picture = picture - 2 ** (bits - 1)
    if photometric == "RGB":
        picture = np.stack([picture, picture, picture], axis=-1)
        dataset.PlanarConfiguration = 0
    dataset.SamplesPerPixel = 3 if photometric == "RGB" else 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = picture.shape[:2]
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = _pixel_bytes(picture, allocated=dataset.BitsAllocated, signed=signed)
    dataset["PixelData"].VR = "OB" if bits <= 8 else "OW"


def _pixel_bytes(picture: Picture, *, allocated: int, signed: bool) -> bytes:
    """Pack the picture little-endian, padded to an even length."""
    packed = picture.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    return packed + b"\0" * (len(packed) % 2)


def _code(value: str, meaning: str) -> Dataset:
    """Build a code of SNOMED CT (PS3.3 table 8.8-1)."""
    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "SCT"
    code.CodeMeaning = meaning
    return code
