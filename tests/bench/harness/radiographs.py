"""Synthetic radiographs of a detector's size, and the same one under ever new UIDs."""

import secrets
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from peers.raw_scu import data_set_bytes
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000, ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from synthetic.objects import make_cr
from synthetic.part10 import part10

CR: Final = str(ComputedRadiographyImageStorage)
_NOISE: Final = 0.004  # standard deviation, of the largest value
_ROWS, _COLUMNS = 2048, 1760  # 7.2 MB
_COMPRESSED_TO: Final = 680_000  # bytes
_UID_LENGTH: Final = 44
_PLACEHOLDERS: Final = tuple(f"2.25.{kind}{'0' * 38}" for kind in (1, 2, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiograph:
    """One encoded data set, and where its three UIDs of instance, series and study are."""

    name: str
    transfer_syntax_uid: str
    data_set: bytes
    dataset: Dataset

    def places(self) -> list[int]:
        """Return where the UIDs of instance, series and study begin in the data set."""
        return [self.data_set.index(each.encode()) for each in _PLACEHOLDERS]

    def write(self, path: Path) -> Path:
        """Write it as a file."""
        path.write_bytes(part10(self.dataset))
        return path


def new_uids() -> tuple[str, str, str]:
    """Return UIDs of an instance, a series and a study, as long as the placeholders."""
    drawn = f"{secrets.randbelow(10**38):038}"
    first, second, third = (f"2.25.{kind}{drawn}" for kind in (1, 2, 3))
    return first, second, third


@cache
def uncompressed(rows: int = _ROWS, columns: int = _COLUMNS) -> Radiograph:
    """Return a radiograph of 12 bits with noise, in Explicit VR Little Endian."""
    dataset = _noisy(rows, columns)
    megabytes = f"{rows * columns * 2 / 1e6:.1f}"
    return _radiograph(f"{megabytes} MB uncompressed", dataset)


@cache
def jpeg_2000(rows: int = _ROWS, columns: int = _COLUMNS) -> Radiograph:
    """Return the same radiograph in lossy JPEG 2000, a tenth as large."""
    dataset = _noisy(rows, columns)
    pixels = rows * columns * dataset.BitsStored / 8  # as the encoder counts
    wanted = _COMPRESSED_TO * rows * columns / (_ROWS * _COLUMNS)
    dataset.compress(JPEG2000, generate_instance_uid=False, j2k_cr=[pixels / wanted])
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionMethod = "ISO_15444_1"
    dataset.LossyImageCompressionRatio = f"{rows * columns * 2 / len(dataset.PixelData):.3f}"
    return _radiograph(f"{len(dataset.PixelData) / 1e6:.2f} MB JPEG 2000", dataset)


def _noisy(rows: int, columns: int) -> Dataset:
    dataset = make_cr(rows=rows, columns=columns)
    largest = (1 << dataset.BitsStored) - 1
    noise = np.random.default_rng(1).normal(0, _NOISE * largest, (rows, columns))
    pixels = np.clip(np.rint(dataset.pixel_array + noise), 0, largest)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = _PLACEHOLDERS
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _radiograph(name: str, dataset: Dataset) -> Radiograph:
    return Radiograph(
        name=name,
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        data_set=data_set_bytes(dataset),
        dataset=dataset,
    )
