"""Encode an instance in each transfer syntax that the listener accepts."""

import copy
import hashlib
import io
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import gdcm
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from support.system.programs import need_program

CODESTREAMS: Final = Path(__file__).parent / "htj2k"
NATIVE: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
JPEG_QUALITY: Final = 95
NEAR_LOSSLESS_ERROR: Final = 2  # grey levels
JPEG2000_RATIO: Final = 10
# Lossy Image Compression Method, PS3.3 C.7.6.1.1.5.1
LOSSY_METHODS: Final = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
    JPEG2000: "ISO_15444_1",
    HTJ2K: "ISO_15444_15",
}


def encode(dataset: Dataset, transfer_syntax_uid: str) -> Dataset:
    """Return a copy in the transfer syntax, under the same UID, as if the device had written it.

    Raises:
        ValueError: the syntax cannot hold these pixels (JPEG baseline holds 8 bits, JPEG extended
            8 or, where DCMTK is installed, 12, neither nor JPEG-LS near-lossless holds signed
            ones), or it is HTJ2K and the picture is not the default one of `make_cr` and `make_dx`.
    """
    uid = UID(transfer_syntax_uid)
    if dataset.file_meta.TransferSyntaxUID not in NATIVE:
        raise ValueError("encode takes an instance that is not compressed")
    encoded = copy.deepcopy(dataset)
    if uid not in NATIVE:
        ENCODERS[uid](encoded, uid)
    encoded.file_meta.TransferSyntaxUID = uid
    if uid in LOSSY_METHODS:
        encoded.LossyImageCompression = "01"
        encoded.LossyImageCompressionMethod = LOSSY_METHODS[uid]
        ratio = len(dataset.PixelData) / len(encoded.PixelData)
        encoded.LossyImageCompressionRatio = f"{ratio:.3f}"
    return encoded


def _with_pydicom(dataset: Dataset, uid: UID) -> None:
    """Encode RLE, JPEG-LS and JPEG 2000 with pydicom's plugins."""
    if uid == JPEGLSNearLossless and dataset.PixelRepresentation:
        raise ValueError(f"{uid.name} is written as unsigned, so an error turns a sign")
    dataset.compress(
        uid,
        # GDCM's encoder ends the whole process when RLE's columns are odd
        encoding_plugin="pydicom" if uid == RLELossless else "",
        generate_instance_uid=False,
        jls_error=NEAR_LOSSLESS_ERROR if uid == JPEGLSNearLossless else None,
        j2k_cr=[JPEG2000_RATIO] if uid == JPEG2000 else None,
    )


def _with_pillow(dataset: Dataset, uid: UID) -> None:
    """Encode JPEG baseline; colour becomes YCbCr with half the chroma, as with most encoders."""
    if dataset.BitsAllocated != 8 or dataset.PixelRepresentation:
        raise ValueError(f"{uid.name} does not hold these pixels")
    jpeg = io.BytesIO()
    Image.fromarray(dataset.pixel_array).save(
        jpeg, format="JPEG", quality=JPEG_QUALITY, subsampling="4:2:2"
    )
    if dataset.SamplesPerPixel > 1:
        dataset.PhotometricInterpretation = "YBR_FULL_422"
    _set_frame(dataset, jpeg.getvalue())


def _as_jpeg_extended(dataset: Dataset, uid: UID) -> None:
    """Encode JPEG extended: 8 bits as baseline, 12 bits with DCMTK, the only correct encoder."""
    if dataset.BitsAllocated == 8:
        _with_pillow(dataset, uid)
        return
    if dataset.BitsStored != 12 or dataset.PixelRepresentation:
        raise ValueError(f"{uid.name} does not hold these pixels")
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.dcm", Path(folder) / "after.dcm"
        dataset.save_as(before, enforce_file_format=True)
        quality = ["+q", str(JPEG_QUALITY)]
        subprocess.run([need_program("dcmcjpeg"), "+ee", *quality, before, after], check=True)
        dataset.PixelData = pydicom.dcmread(after).PixelData
    dataset["PixelData"].VR = "OB"


def _with_gdcm(dataset: Dataset, uid: UID) -> None:
    """Encode both kinds of JPEG lossless with GDCM, which works on files."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.dcm", Path(folder) / "after.dcm"
        dataset.save_as(before, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(before))
        _expect(reader.Read(), "GDCM cannot read the instance")
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(uid)))
        change.SetInput(reader.GetImage())
        _expect(change.Change(), f"GDCM cannot write these pixels in {uid.name}")
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(after))
        _expect(writer.Write(), "GDCM cannot write the instance")
        dataset.PixelData = pydicom.dcmread(after).PixelData
    dataset["PixelData"].VR = "OB"


def _expect(done: object, otherwise: str) -> None:
    if not done:
        raise ValueError(otherwise)


def _from_codestream(dataset: Dataset, uid: UID) -> None:
    """Insert the HTJ2K codestreams that `make_htj2k.py` made of the default picture."""
    if hashlib.sha256(dataset.PixelData).hexdigest() != picture_digest():
        raise ValueError(f"{uid.name} is there for the default picture only")
    name = "lossy.j2c" if uid == HTJ2K else "lossless.j2c"
    _set_frame(dataset, (CODESTREAMS / name).read_bytes())


def picture_digest() -> str:
    """Return the SHA-256 of the pixel data in the codestreams."""
    return (CODESTREAMS / "picture.sha256").read_text().strip()


def _set_frame(dataset: Dataset, frame: bytes) -> None:
    """Set one encapsulated frame as the pixel data (PS3.5 A.4)."""
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"


ENCODERS: Final[dict[str, Callable[[Dataset, UID], None]]] = {
    RLELossless: _with_pydicom,
    JPEGLSLossless: _with_pydicom,
    JPEGLSNearLossless: _with_pydicom,
    JPEG2000Lossless: _with_pydicom,
    JPEG2000: _with_pydicom,
    JPEGBaseline8Bit: _with_pillow,
    JPEGExtended12Bit: _as_jpeg_extended,
    JPEGLossless: _with_gdcm,
    JPEGLosslessSV1: _with_gdcm,
    HTJ2KLossless: _from_codestream,
    HTJ2KLosslessRPCL: _from_codestream,
    HTJ2K: _from_codestream,
}
