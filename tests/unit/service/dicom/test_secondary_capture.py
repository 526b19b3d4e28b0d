import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from peers.validators import dciodvfy
from PIL import Image
from pydicom import dcmwrite
from pydicom.dataset import Dataset

from service.dicom.secondary_capture import PictureError, kind_of, wrap

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (61, 83), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (60, 80), dtype=np.uint16)
COLOURS = RNG.integers(0, 256, (61, 83, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels_of(instance: Dataset) -> NDArray[np.generic]:
    stream = io.BytesIO()
    dcmwrite(stream, instance, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream).pixel_array


PICTURES = {
    "grey png": encoded(Image.fromarray(GREY)),
    "deep grey png": encoded(Image.fromarray(DEEP)),
    "one bit png": encoded(Image.fromarray(GREY > 128)),
    "palette png": encoded(Image.fromarray(COLOURS).quantize(17)),
    "colour png": encoded(Image.fromarray(COLOURS)),
    "see-through png": encoded(Image.fromarray(np.dstack([COLOURS, GREY]))),
    "grey see-through png": encoded(Image.fromarray(np.dstack([GREY, GREY[::-1]]), "LA")),
    "grey jpeg": encoded(Image.fromarray(GREY), "JPEG"),
    "colour jpeg": encoded(Image.fromarray(COLOURS), "JPEG"),
    "cmyk jpeg": encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_dciodvfy_finds_no_error_in_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.dcm"
    dcmwrite(path, wrap(PICTURES[name]), enforce_file_format=True)
    said = dciodvfy(path)
    assert "SCImage" in said
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_grey_values_stay_as_they_are() -> None:
    instance = wrap(PICTURES["grey png"])
    assert np.array_equal(pixels_of(instance), GREY)
    assert instance.PhotometricInterpretation == "MONOCHROME2"


def test_sixteen_bits_stay_sixteen_bits() -> None:
    instance = wrap(PICTURES["deep grey png"])
    assert instance.BitsStored == 16
    assert np.array_equal(pixels_of(instance), DEEP)


@pytest.mark.parametrize("name", ["colour png", "palette png", "colour jpeg", "cmyk jpeg"])
def test_colours_become_the_luminance_that_pillow_gives(name: str) -> None:
    with Image.open(io.BytesIO(PICTURES[name])) as image:
        expected = np.asarray(image.convert("L"))
    assert np.array_equal(pixels_of(wrap(PICTURES[name])), expected)


def test_what_is_see_through_lies_on_black() -> None:
    clear = np.dstack([COLOURS, np.zeros_like(GREY)])
    assert pixels_of(wrap(encoded(Image.fromarray(clear)))).max() == 0


def test_the_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° to show
    turned = encoded(Image.fromarray(GREY), exif=exif)
    assert np.array_equal(pixels_of(wrap(turned)), np.rot90(GREY, -1))


def test_the_same_picture_is_the_same_instance_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "radiograph.png"
    path.write_bytes(PICTURES["grey png"])
    streams = [io.BytesIO(), io.BytesIO()]
    pictures: list[bytes | Path] = [PICTURES["grey png"], path]
    for stream, picture in zip(streams, pictures, strict=True):
        dcmwrite(stream, wrap(picture), enforce_file_format=True)
    assert streams[0].getvalue() == streams[1].getvalue()


def test_another_picture_shares_no_uid_and_no_patient_with_it() -> None:
    one, other = wrap(PICTURES["grey png"]), wrap(PICTURES["grey jpeg"])
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
        assert one[keyword].value != other[keyword].value
    assert len({one.SOPInstanceUID, one.SeriesInstanceUID, one.StudyInstanceUID}) == 3
    assert all(
        instance[keyword].value.is_valid and instance[keyword].value.startswith("2.25.")
        for instance in (one, other)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    )


def test_a_jpeg_says_that_it_was_compressed_with_loss() -> None:
    assert wrap(PICTURES["grey jpeg"]).LossyImageCompression == "01"
    assert "LossyImageCompression" not in wrap(PICTURES["grey png"])


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


ANIMATION = encoded(
    Image.fromarray(GREY), save_all=True, append_images=[Image.fromarray(GREY[::-1].copy())]
)
DAMAGED = bytearray(PICTURES["grey png"])
DAMAGED[len(DAMAGED) // 2] ^= 0xFF


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "neither PNG nor JPEG"),
        (b"<html>", "neither PNG nor JPEG"),
        (b"GIF89a" + b"\0" * 100, "neither PNG nor JPEG"),
        (PICTURES["grey png"][:300], "broken"),
        (PICTURES["grey jpeg"][:400], "broken"),
        (bytes(DAMAGED), "broken"),
        (png_that_claims(10_001, 10_000), "100 million"),
        (png_that_claims(15_000, 15_000), "100 million"),
        (png_that_claims(2**31 - 1, 2**31 - 1), "100 million"),
        (ANIMATION, "more than one frame"),
    ],
)
def test_what_cannot_become_an_instance_is_refused_in_one_line(content: bytes, why: str) -> None:
    with pytest.raises(PictureError, match=why) as caught:
        wrap(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first_bytes", "kind"),
    [
        (PICTURES["grey png"][:132], "png"),
        (PICTURES["grey jpeg"][:132], "jpeg"),
        (b"\0" * 128 + b"DICM", "dicom"),
        (b"\x08\x00\x05\x00CS", "dicom"),
        (b"PK\x03\x04", None),
        (b"<!DOCTYPE html>", None),
        (b"", None),
    ],
)
def test_the_kind_is_detected_by_the_bytes(first_bytes: bytes, kind: str | None) -> None:
    assert kind_of(first_bytes) == kind
