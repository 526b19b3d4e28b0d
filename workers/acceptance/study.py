"""The synthetic study of an acceptance run: a sample radiograph, and outputs about it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from service.dicom.implementation import VERSION
from service.domain.delivery import Reference
from service.domain.routing import OutputKind
from workers.prediction import Finding, Model, OperatingPoint, Prediction
from workers.reporting.outputs import make_outputs
from workers.reporting.picture import Pixels

PATIENT_NAME: Final = "LOBAR^ACCEPTANCE"
DESCRIPTION: Final = "Synthetic acceptance test of Lobar"
IMAGE: Final = "image"
_OPERATING_POINT: Final = OperatingPoint(
    name="test", threshold=0.5, indeterminate_low=0.4, indeterminate_high=0.6
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticObject:
    """An object of the study: the image, or an output of a kind."""

    kind: str
    path: Path
    reference: Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticStudy:
    """A study of an invented patient, with new UIDs in each run."""

    patient_id: str
    study_instance_uid: str
    objects: tuple[SyntheticObject, ...]

    @property
    def report(self) -> SyntheticObject | None:
        """The report; None where the destination is sent none."""
        return next((each for each in self.objects if each.kind == OutputKind.SR), None)


def make_study(
    sample: Path, folder: Path, kinds: Collection[OutputKind], now: datetime, *, with_image: bool
) -> SyntheticStudy:
    """Build a study in a folder.

    Args:
        sample: A synthetic, uncompressed, monochrome radiograph as a DICOM file.
        folder: Where the objects are written.
        kinds: The kinds of output.
        now: The date and time of the study.
        with_image: Whether the radiograph itself is one of the objects.
    """
    radiograph = _radiograph(sample, now)
    objects = []
    if with_image:
        path = folder / f"{IMAGE}.dcm"
        dcmwrite(path, radiograph, enforce_file_format=True)
        reference = Reference(str(radiograph.SOPClassUID), str(radiograph.SOPInstanceUID))
        objects.append(SyntheticObject(kind=IMAGE, path=path, reference=reference))
    picture = _picture(radiograph)
    for output in make_outputs(_header(radiograph), picture, _conclusion(), kinds=kinds, now=now):
        path = folder / f"{output.kind}.dcm"
        path.write_bytes(output.encode())
        reference = Reference(output.sop_class_uid, output.sop_instance_uid)
        objects.append(SyntheticObject(kind=output.kind, path=path, reference=reference))
    return SyntheticStudy(
        patient_id=str(radiograph.PatientID),
        study_instance_uid=str(radiograph.StudyInstanceUID),
        objects=tuple(objects),
    )


def _radiograph(sample: Path, now: datetime) -> Dataset:
    """Read the sample as a radiograph of its own, of an invented patient."""
    radiograph = dcmread(sample)
    radiograph.StudyInstanceUID = generate_uid(prefix=None)
    radiograph.SeriesInstanceUID = generate_uid(prefix=None)
    radiograph.SOPInstanceUID = generate_uid(prefix=None)
    radiograph.file_meta.MediaStorageSOPInstanceUID = radiograph.SOPInstanceUID
    radiograph.PatientName = PATIENT_NAME
    radiograph.PatientID = f"LOBAR-ACCEPTANCE-{now:%Y%m%d%H%M%S}"
    radiograph.AccessionNumber = f"LOBAR{now:%m%d%H%M%S}"
    radiograph.StudyDescription = DESCRIPTION
    for level in ("Study", "Series", "Acquisition", "Content"):
        setattr(radiograph, f"{level}Date", f"{now:%Y%m%d}")
        setattr(radiograph, f"{level}Time", f"{now:%H%M%S}")
    return radiograph


def _header(radiograph: Dataset) -> Dataset:
    header = Dataset(radiograph)
    header.file_meta = radiograph.file_meta
    return header


def _picture(radiograph: Dataset) -> Pixels:
    levels: Pixels = radiograph.pixel_array.astype(np.float32) / (2**radiograph.BitsStored - 1)
    return 1 - levels if radiograph.PhotometricInterpretation == "MONOCHROME1" else levels


def _conclusion() -> Prediction:
    """Return an invented conclusion, whose model names itself as one of a test."""
    model = Model(
        name="acceptance_test_without_a_model",
        version=VERSION,
        weights_sha256="0" * 64,
        calibrated=False,
        operating_point=_OPERATING_POINT,
    )
    return Prediction(finding=Finding.INDETERMINATE, probability=0.5, model=model)
