import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset
from scripts.refusal import find_refusal
from synthetic.objects import make_sc
from synthetic.pictures import chest

Prepare = Callable[[bytes | Dataset], torch.Tensor]

PICTURE = chest(384, 320, 8).astype("u1")


def png(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format=str(options.pop("format", "PNG")), **options)
    return file.getvalue()


def code_of(prepare: Prepare, given: bytes) -> str:
    with pytest.raises(Exception) as raised:  # noqa: PT011 -- MONAI wraps it
        prepare(given)
    refusal = find_refusal(raised.value)
    assert refusal is not None
    return refusal.code


def test_a_png_gives_the_same_tensor_as_dicom_of_the_same_pixels(prepare: Prepare) -> None:
    torch.testing.assert_close(prepare(png(Image.fromarray(PICTURE))), prepare(make_sc()))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
def test_every_kind_of_png_gives_the_same_tensor(prepare: Prepare, mode: str) -> None:
    grey = Image.fromarray(PICTURE)
    image = (
        Image.fromarray(PICTURE.astype("u2") * 257)
        if mode == "I;16"
        else grey.quantize(256)
        if mode == "P"
        else grey.convert(mode)
    )
    difference = (prepare(png(image)) - prepare(png(grey))).abs()
    assert difference.max() < 0.03


def test_a_png_of_one_bit_is_read(prepare: Prepare) -> None:
    tensor = prepare(png(Image.fromarray(PICTURE).convert("1")))
    assert tensor.unique().numel() > 2


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg_gives_nearly_the_same_tensor(prepare: Prepare, mode: str) -> None:
    grey = Image.fromarray(PICTURE)
    tensor = prepare(png(grey.convert(mode), format="JPEG", quality=95))
    assert (tensor - prepare(png(grey))).abs().mean() < 0.02


def test_exif_orientation_is_applied(prepare: Prepare) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees to show
    turned = Image.fromarray(np.rot90(PICTURE))
    tensor = prepare(png(turned, format="JPEG", quality=95, exif=exif))
    upright = prepare(png(Image.fromarray(PICTURE), format="JPEG", quality=95))
    assert (tensor - upright).abs().mean() < 0.01


def test_transparent_is_black(prepare: Prepare) -> None:
    pixels = np.dstack([PICTURE, PICTURE, PICTURE, np.full_like(PICTURE, 255)])
    pixels[:, :32] = (255, 255, 255, 0)
    assert prepare(png(Image.fromarray(pixels)))[..., :12].max() < -0.9


def bomb(side: int) -> bytes:
    """A PNG whose header states a huge size, with almost no data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (bomb(50_000), "size-out-of-range"),
        (bomb(12_000), "size-out-of-range"),
        (bomb(100), "pixels-unreadable"),
        (png(Image.fromarray(PICTURE[:40])), "size-out-of-range"),
        (png(Image.fromarray(PICTURE))[:3000], "pixels-unreadable"),
        (png(Image.fromarray(PICTURE), format="JPEG")[:3000], "pixels-unreadable"),
        (png(Image.fromarray(np.full_like(PICTURE, 77))), "blank-image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "pixel-format-unsupported"),
        (b"\xff\xd8\xff" + bytes(500), "pixel-format-unsupported"),
        (
            png(
                Image.fromarray(PICTURE),
                save_all=True,
                append_images=[Image.fromarray(PICTURE.T.copy()).resize((320, 384))],
            ),
            "multi-frame",
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_bad_raster_is_refused_with_its_code(prepare: Prepare, given: bytes, code: str) -> None:
    assert code_of(prepare, given) == code


def test_a_jpeg_file_of_many_scans_is_refused_before_it_is_decoded(prepare: Prepare) -> None:
    whole = png(Image.fromarray(PICTURE), format="JPEG", progressive=True)
    assert prepare(whole).shape == (1, 224, 224)
    scan = whole.rindex(b"\xff\xda")
    bomb_of_scans = whole[:scan] + whole[scan:-2] * 30_000 + whole[-2:]
    assert code_of(prepare, bomb_of_scans) == "size-out-of-range"
