"""Test whether the probability stays the same in other renderings of the same radiograph."""

import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    JPEG2000,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from tqdm import tqdm

from scripts.bundle.loaded import LoadedBundle
from scripts.data.datasets import Radiograph
from scripts.data.predictions import image_id
from scripts.preprocessing.load import read_radiograph
from scripts.robustness.tables import REFERENCE

FloatArray = NDArray[np.float32]


def jpeg(luminance: FloatArray) -> bytes:
    """Encode a luminance HxW in [0, 1] as an 8-bit JPEG of quality 90."""
    file = io.BytesIO()
    Image.fromarray(np.round(luminance * 255).astype("u1")).save(file, "JPEG", quality=90)
    return file.getvalue()


def monochrome1(luminance: FloatArray, bits: int) -> bytes:
    """Encode a luminance HxW in [0, 1] as a MONOCHROME1 DICOM instance, in which white is 0."""
    top = (1 << bits) - 1
    stored = np.round((1 - luminance) * top).astype("<u2")
    return as_file(build_instance(stored, bits, "MONOCHROME1"))


def jpeg2000(luminance: FloatArray) -> bytes:
    """Encode a luminance HxW in [0, 1] as 12-bit DICOM in JPEG 2000, compressed 10:1."""
    stored = np.round(luminance * 4095).astype("<u2")
    dataset = build_instance(stored, 12, "MONOCHROME2")
    dataset.compress(JPEG2000, j2k_cr=[10], encoding_plugin="pylibjpeg")
    return as_file(dataset)


def narrow_window(luminance: FloatArray) -> bytes:
    """Encode a luminance as 12-bit DICOM with a window that clips 2 % at either end."""
    stored = np.round(luminance * 4095).astype("<u2")
    low, high = np.percentile(stored, (2, 98))
    dataset = build_instance(stored, 12, "MONOCHROME2")
    dataset.WindowCenter = f"{(low + high) / 2:.1f}"
    dataset.WindowWidth = f"{max(2.0, high - low):.1f}"
    return as_file(dataset)


RENDERINGS: Final[dict[str, Callable[[FloatArray], bytes]]] = {
    "JPEG, 8 bits, quality 90": jpeg,
    "DICOM, 12 bits, MONOCHROME1": lambda luminance: monochrome1(luminance, 12),
    "DICOM, 15 bits, MONOCHROME1": lambda luminance: monochrome1(luminance, 15),
    "DICOM, JPEG 2000, 10:1": jpeg2000,
    "DICOM, 12 bits, other window": narrow_window,
}


def check_renderings(bundle: LoadedBundle, rows: Sequence[Radiograph]) -> list[dict[str, Any]]:
    """Return the probability of each radiograph in each rendering."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rendering"
        for row in tqdm(rows, desc="renderings", mininterval=5, ncols=80):
            luminance = read_radiograph(Path(row["image"]).read_bytes())
            images = [bundle.preprocess(row["image"])]
            for render in RENDERINGS.values():
                path.write_bytes(render(luminance))
                images.append(bundle.preprocess(str(path)))
            logits = bundle.run_network(images)["pred"][:, 0]
            probabilities = bundle.probabilities(logits, row["cohort"])
            for name, probability in zip([REFERENCE, *RENDERINGS], probabilities, strict=True):
                found.append(
                    {"image": image_id(row), "rendering": name, "probability": f"{probability:.6f}"}
                )
    return found


def build_instance(stored: NDArray[np.uint16], bits: int, photometric: str) -> Dataset:
    """Build a data set of the elements that an image needs."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PhotometricInterpretation = photometric
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def as_file(dataset: Dataset) -> bytes:
    """Return the file of a data set."""
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()
