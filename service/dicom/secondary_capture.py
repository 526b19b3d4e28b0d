"""Convert a PNG or JPEG to an uncompressed Secondary Capture instance.

The pixels are the luminance that the bundle reads from the same picture, value for value, so that
an uploaded picture and one given to the bundle directly get the same probability. Everything else
is derived from the bytes alone: the same picture always becomes the same instance.
"""

import hashlib
import io
import uuid
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from service.dicom.implementation import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    MANUFACTURER,
)
from service.domain.reasons import Reason

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

LARGEST_PIXELS: Final = 100_000_000  # a 43 by 43 cm detector at 0.05 mm has 74 million
SNIFFED_BYTES: Final = 132  # what `kind_of` needs

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00")  # DICOM without its preamble, little endian
_NAMESPACE: Final = uuid.UUID("6f1d6b0e-6a3c-5b70-9d53-0c1c1b0a7c11")
_LARGEST_16_BIT_VALUE: Final = 0xFFFF
_STRIP_ROWS: Final = 256  # converted at once: the largest picture alone takes 400 MB in colours

Image.MAX_IMAGE_PIXELS = LARGEST_PIXELS  # beyond it Pillow warns, beyond twice it raises


class PictureError(Exception):
    """The picture cannot be converted; the message says why in one line."""

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


def kind_of(first_bytes: bytes) -> Literal["dicom", "png", "jpeg"] | None:
    """Detect the kind of a file by its first `SNIFFED_BYTES` bytes; a stated type may be wrong."""
    if first_bytes[128:132] == b"DICM" or first_bytes.startswith(_FIRST_GROUPS):
        return "dicom"
    if first_bytes.startswith(_PNG):
        return "png"
    return "jpeg" if first_bytes.startswith(_JPEG) else None


def wrap(picture: Path | bytes) -> Dataset:
    """Build a Secondary Capture instance (PS3.3 A.8.1) with file meta information.

    MONOCHROME2 of 8 bits, or 16 where the picture has as many; upright after its EXIF orientation.
    It holds nothing about a patient except a generated Patient ID.

    Raises:
        PictureError: neither PNG nor JPEG, broken, animated, or larger than `LARGEST_PIXELS`.
        OSError: the path cannot be read.
    """
    content = picture if isinstance(picture, bytes) else picture.read_bytes()
    pixels = _luminance(content)
    digest = hashlib.sha256(content).hexdigest()
    instance = _header(digest)
    _put_pixels(instance, pixels)
    if content.startswith(_JPEG):
        instance.LossyImageCompression = "01"  # PS3.3 C.7.6.1.1.5
        instance.LossyImageCompressionRatio = f"{max(1.0, pixels.nbytes / len(content)):.4g}"
        instance.LossyImageCompressionMethod = "ISO_10918_1"
    return instance


def _luminance(content: bytes) -> Pixels:
    try:
        return _decode(content)
    except (PictureError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise PictureError("The picture has more than 100 million pixels.") from exc
    except UnidentifiedImageError as exc:
        raise PictureError("The file is neither PNG nor JPEG, or is broken.") from exc
    except Exception as exc:  # a decoder fails in its own ways on damaged bytes
        raise PictureError("The picture is broken: its pixels cannot be decoded.") from exc


def _decode(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        if image.width * image.height > LARGEST_PIXELS:
            raise PictureError("The picture has more than 100 million pixels.")
        if getattr(image, "n_frames", 1) > 1:
            raise PictureError("The picture holds more than one frame.")
        image.load()
        grey = _grey(image)
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    return grey if orientation is None else _upright(grey, orientation)


def _grey(image: Image.Image) -> Pixels:
    """Convert to grey in strips, so that no second picture in colours is held in memory."""
    kind = np.uint16 if image.mode.startswith("I") else np.uint8
    grey = np.empty((image.height, image.width), kind)
    for top in range(0, image.height, _STRIP_ROWS):
        rows = grey[top : top + _STRIP_ROWS]
        rows[:] = _grey_strip(image.crop((0, top, image.width, top + len(rows))))
    return grey


def _grey_strip(image: Image.Image) -> Pixels:
    """Convert to grey as the bundle does: transparency on black, then ITU-R 601-2 luma."""
    if image.mode.startswith("I"):  # grey of more than 8 bits
        return np.asarray(np.clip(np.asarray(image), 0, _LARGEST_16_BIT_VALUE), dtype=np.uint16)
    if image.mode in {"LA", "PA", "RGBA", "La", "RGBa"} or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    return np.asarray(image.convert("L"), dtype=np.uint8)


def _upright(grey: Pixels, orientation: int) -> Pixels:
    """Turn and mirror as an EXIF orientation says; one that is none changes nothing."""
    turned = Image.fromarray(grey)
    turned.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(turned))


def _header(digest: str) -> Dataset:
    """Build every mandatory module of PS3.3 table A.8-1 except the pixels."""
    instance = Dataset()
    instance.SOPClassUID = SecondaryCaptureImageStorage
    instance.SOPInstanceUID = _uid("instance", digest)
    instance.SeriesInstanceUID = _uid("series", digest)
    instance.StudyInstanceUID = _uid("study", digest)
    instance.PatientName = "UPLOADED^PICTURE"
    instance.PatientID = f"UPLOAD-{digest[:16]}"  # with an empty one all would be the same patient
    instance.PatientBirthDate = instance.PatientSex = ""
    # No time of upload: the same picture must give the same bytes, or it would be a second job.
    instance.StudyDate = instance.StudyTime = ""
    instance.AccessionNumber = instance.StudyID = instance.ReferringPhysicianName = ""
    instance.Modality = "OT"
    instance.SeriesNumber = instance.InstanceNumber = 1
    instance.Laterality = instance.PatientOrientation = ""  # unknown
    # shown to a radiologist: this was never an acquisition
    instance.StudyDescription = "Picture file, not from a modality"
    instance.SeriesDescription = "Picture file made into Secondary Capture"
    instance.ImageType = ["DERIVED", "SECONDARY"]
    instance.ConversionType = "WSD"
    instance.SecondaryCaptureDeviceManufacturer = MANUFACTURER
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = instance.SOPClassUID
    meta.MediaStorageSOPInstanceUID = instance.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    instance.file_meta = meta
    return instance


def _put_pixels(instance: Dataset, pixels: Pixels) -> None:
    bits = pixels.dtype.itemsize * 8
    instance.SamplesPerPixel = 1
    instance.PhotometricInterpretation = "MONOCHROME2"
    instance.Rows, instance.Columns = pixels.shape
    instance.BitsAllocated = instance.BitsStored = bits
    instance.HighBit = bits - 1
    instance.PixelRepresentation = 0
    content = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()
    vr = "OB" if pixels.dtype.itemsize == 1 else "OW"
    instance.add_new("PixelData", vr, content + b"\0" * (len(content) % 2))  # PS3.5 8.1.1


def _uid(level: str, digest: str) -> UID:
    """Derive the UID of one level of the hierarchy from the picture's digest (PS3.5 B.2)."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, f'{level}:{digest}').int}")
