"""Colours, planes, tiles and wrappers: each picture has the luminance of the one given plainly."""

import io
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from scripts.preprocessing.load import read_radiograph
from support.refusal_code import code_of
from synthetic.objects import make_cr, make_sc
from synthetic.pictures import chest

AsFile = Callable[[Dataset], bytes]
Bytes = NDArray[np.uint8]
LUMA: Final = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
EXACT, LOSSY = 0.6, 4.0  # mean difference in levels of 256: rounding; compression with loss
JPEG_QUALITY: Final = 95

GREY: Final[Bytes] = chest(192, 160, 8).astype("u1")


def coloured() -> Bytes:
    """Draw the picture in colours that no two components share, so that a swap is noticed."""
    across = np.linspace(0, 60, GREY.shape[1])[None, :]
    red, green, blue = GREY * 0.75 + across, GREY * 0.9, 255 - GREY * 0.6
    return np.stack(np.broadcast_arrays(red, green, blue), axis=-1).round().astype("u1")


RGB: Final = coloured()
LUMINANCE: Final = RGB @ LUMA


def ybr(rgb: Bytes = RGB) -> Bytes:
    """Convert to YBR_FULL (PS3.3 C.7.6.3.1.2)."""
    matrix = np.array([LUMA, [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.rint(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype("u1")


def instance(
    pixel_data: bytes, photometric: str, uid: UID = ExplicitVRLittleEndian, planar: int = 0
) -> Dataset:
    dataset = make_sc(rows=192, columns=160, photometric="RGB")
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, planar
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.PixelData = pixel_data
    return dataset


def compressed(frame: bytes, photometric: str, uid: UID) -> Dataset:
    return instance(encapsulate([frame]), photometric, uid)


def difference(found: NDArray[np.float32], wanted: NDArray[Any]) -> float:
    return float(np.abs(found * 255.0 - wanted).mean())


def planes(pixels: Bytes) -> bytes:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)).tobytes()


def halved(pixels: Bytes) -> bytes:
    """Pack as YBR_FULL_422: two Y, then the Cb and Cr that they share (C.7.6.3.1.2)."""
    first, second = pixels[:, ::2], pixels[:, 1::2]
    words = [first[..., 0], second[..., 0], first[..., 1], first[..., 2]]
    return np.stack(words, axis=-1).tobytes()


NATIVE: Final = {
    "RGB": instance(RGB.tobytes(), "RGB"),
    "RGB in planes": instance(planes(RGB), "RGB", planar=1),
    "YBR_FULL": instance(ybr().tobytes(), "YBR_FULL"),
    "YBR_FULL in planes": instance(planes(ybr()), "YBR_FULL", planar=1),
    "YBR_FULL_422": instance(halved(ybr()), "YBR_FULL_422"),
}


@pytest.mark.parametrize("name", NATIVE)
def test_native_colours_have_their_luminance(as_file: AsFile, name: str) -> None:
    assert difference(read_radiograph(as_file(NATIVE[name])), LUMINANCE) < EXACT


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("pixels", "photometric"), [(RGB, "RGB"), (ybr(), "YBR_FULL")])
def test_rle_has_planes_whatever_the_header_says(
    as_file: AsFile, pixels: Bytes, photometric: str, planar: int
) -> None:
    dataset = instance(pixels.tobytes(), photometric)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    dataset.PlanarConfiguration = planar
    assert difference(read_radiograph(as_file(dataset)), LUMINANCE) < EXACT


def test_a_palette_is_looked_up(as_file: AsFile) -> None:
    dataset = instance(GREY.tobytes(), "PALETTE COLOR")
    dataset.SamplesPerPixel = 1
    del dataset.PlanarConfiguration
    shades = np.arange(256)
    tables = {"Red": 255 - shades, "Green": shades, "Blue": shades // 2}
    for name, table in tables.items():
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        words = (table * 257).astype("<u2").tobytes()
        setattr(dataset, f"{name}PaletteColorLookupTableData", words)
    wanted = np.stack([tables[name][GREY] for name in tables], axis=-1) @ LUMA
    assert difference(read_radiograph(as_file(dataset)), wanted) < EXACT


# JPEG


def jpeg(pixels: Bytes, subsampling: str = "4:4:4", rows: int = 0) -> bytes:
    """Encode as YCbCr, with restart markers after so many rows of blocks."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(
        file, "JPEG", quality=JPEG_QUALITY, subsampling=subsampling, restart_marker_rows=rows
    )
    return file.getvalue()


def without_names(frame: bytes) -> bytes:
    """Leave out the segments APP0 and APP14, which name the colour space."""
    at, kept = 2, [frame[:2]]
    while frame[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(frame[at + 2 : at + 4])
        if frame[at + 1] not in {0xE0, 0xEE}:
            kept.append(frame[at:end])
        at = end
    return b"".join([*kept, frame[at:]])


def adobe(frame: bytes, transform: int) -> bytes:
    """Name the colour space by an APP14 segment alone."""
    segment = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(4) + bytes([transform])
    return b"\xff\xd8" + segment + without_names(frame)[2:]


def jpeg_of_components(pixels: Bytes) -> bytes:
    """Encode the components as they are, with nothing that names their colour space."""
    frame = imagecodecs.jpeg8_encode(
        pixels, level=JPEG_QUALITY, colorspace="RGB", outcolorspace="RGB"
    )
    return without_names(bytes(frame))


def numbered(frame: bytes) -> bytes:
    """Name components 1, 2 and 3, where libjpeg names those of RGB R, G and B."""
    for old, new in zip(b"RGB", (1, 2, 3), strict=True):
        at = frame.index(bytes([0xFF, 0xC0]))
        frame = frame[:at] + frame[at:].replace(bytes([old, 0x11]), bytes([new, 0x11]), 1)
        scan = frame.index(b"\xff\xda")
        frame = frame[:scan] + frame[scan:].replace(bytes([old, 0x00]), bytes([new, 0x00]), 1)
    return frame


JPEGS: Final = {
    "YBR_FULL_422": (jpeg(RGB, "4:2:2"), "YBR_FULL_422"),
    "YBR_FULL": (jpeg(RGB), "YBR_FULL"),
    "4:2:0": (jpeg(RGB, "4:2:0"), "YBR_FULL_422"),
    "YCbCr that the header calls RGB": (jpeg(RGB), "RGB"),
    "restart markers": (jpeg(RGB, "4:2:2", rows=1), "YBR_FULL_422"),
    "APP14 with transform 1": (adobe(jpeg(RGB), 1), "RGB"),
    "APP14 with transform 2": (adobe(jpeg(RGB), 2), "YBR_FULL"),
    "APP14 with transform 0": (adobe(numbered(jpeg_of_components(RGB)), 0), "RGB"),
    "APP14 with transform 0, called YBR": (
        adobe(numbered(jpeg_of_components(RGB)), 0),
        "YBR_FULL_422",
    ),
    "RGB without a name": (numbered(jpeg_of_components(RGB)), "RGB"),
    "components R, G and B": (jpeg_of_components(RGB), "YBR_FULL_422"),
    "YCbCr without a name": (numbered(jpeg_of_components(ybr())), "YBR_FULL"),
}


@pytest.mark.parametrize("name", JPEGS)
def test_a_jpegs_colours_have_their_luminance(as_file: AsFile, name: str) -> None:
    frame, photometric = JPEGS[name]
    found = read_radiograph(as_file(compressed(frame, photometric, JPEGBaseline8Bit)))
    assert difference(found, LUMINANCE) < LOSSY


def test_the_restart_markers_are_there() -> None:
    assert b"\xff\xdd\x00\x04" in JPEGS["restart markers"][0]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_grey_jpeg_with_restart_markers_is_read(as_file: AsFile, rows: int) -> None:
    dataset = compressed(jpeg(GREY, rows=rows), "MONOCHROME2", JPEGBaseline8Bit)
    dataset.SamplesPerPixel = 1
    del dataset.PlanarConfiguration
    assert difference(read_radiograph(as_file(dataset)), GREY) < LOSSY


# JPEG 2000


def jpeg_2000(
    pixels: NDArray[np.generic], *, mct: bool, level: int = 0, wrapped: bool = False
) -> bytes:
    """Encode with OpenJPEG; a level, in dB, is with loss."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels, level, codecformat="jp2" if wrapped else "j2k", reversible=not level, mct=mct
        )
    )


def with_pillow(pixels: NDArray[np.generic], *, no_jp2: bool = True, **options: object) -> bytes:
    """Encode with Pillow, which writes tiles; those of more than 8 bits it garbles."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG2000", no_jp2=no_jp2, irreversible=False, **options)
    return file.getvalue()


COLOURED: Final = {
    "RGB without MCT": (jpeg_2000(RGB, mct=False), "RGB"),
    "RGB with MCT": (jpeg_2000(RGB, mct=True), "RGB"),
    "YBR_RCT": (jpeg_2000(RGB, mct=True), "YBR_RCT"),
    "YBR_RCT without MCT": (jpeg_2000(RGB, mct=False), "YBR_RCT"),
    "YBR_FULL without MCT": (jpeg_2000(ybr(), mct=False), "YBR_FULL"),
    "YBR_ICT": (jpeg_2000(RGB, mct=True, level=45), "YBR_ICT"),
    "RGB with ICT": (jpeg_2000(RGB, mct=True, level=45), "RGB"),
    "tiles": (with_pillow(RGB, mct=1, tile_size=(64, 64)), "YBR_RCT"),
    "a JP2 file": (jpeg_2000(RGB, mct=True, wrapped=True), "YBR_RCT"),
}


@pytest.mark.parametrize("name", COLOURED)
def test_jpeg_2000_has_the_luminance_of_its_colours(as_file: AsFile, name: str) -> None:
    frame, photometric = COLOURED[name]
    is_lossy = "ICT" in name
    dataset = compressed(frame, photometric, JPEG2000 if is_lossy else JPEG2000Lossless)
    assert difference(read_radiograph(as_file(dataset)), LUMINANCE) < (LOSSY if is_lossy else EXACT)


def grey_instance(frames: Iterable[bytes], fragments: int = 1) -> Dataset:
    dataset = make_cr(rows=192, columns=160, bits_stored=8)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate(list(frames), fragments_per_frame=fragments)
    dataset["PixelData"].VR = "OB"
    return dataset


def tile_parts(frame: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Return main header, tile-parts and end of a codestream (ISO/IEC 15444-1 A.4.2)."""
    at = first = frame.index(b"\xff\x90")
    parts = []
    while frame.startswith(b"\xff\x90", at):
        length = struct.unpack_from(">L", frame, at + 6)[0]
        parts.append(frame[at : at + length])
        at += length
    return frame[:first], parts, frame[at:]


def shuffled(frame: bytes) -> bytes:
    """Return a codestream with its tile-parts in the reverse order."""
    head, parts, end = tile_parts(frame)
    assert len(parts) > 4
    return head + b"".join(reversed(parts)) + end


@pytest.mark.parametrize(
    "frame",
    [
        with_pillow(GREY, tile_size=(64, 64)),
        with_pillow(GREY, tile_size=(50, 70), progression="RPCL"),
        shuffled(with_pillow(GREY, tile_size=(64, 64))),
        with_pillow(GREY, no_jp2=False),
    ],
    ids=["tiles", "odd tiles by position", "tiles in reverse order", "a JP2 file"],
)
@pytest.mark.parametrize("fragments", [1, 3])
def test_a_grey_codestream_in_any_order_is_the_same_picture(
    as_file: AsFile, frame: bytes, fragments: int
) -> None:
    plain = make_cr(rows=192, columns=160, bits_stored=8)
    plain.PixelData = GREY.tobytes()
    found = read_radiograph(as_file(grey_instance([frame], fragments)))
    np.testing.assert_array_equal(found, read_radiograph(as_file(plain)))


def test_components_of_different_sizes_are_refused_by_name(as_file: AsFile) -> None:
    """No encoder at hand writes them; a codestream that states half the chroma stands for them."""
    frame = jpeg_2000(ybr(), mct=False)
    at = frame.index(b"\xff\x51") + 40
    assert frame[at : at + 9] == bytes([7, 1, 1]) * 3
    halved_chroma = frame[:at] + bytes([7, 1, 1, 7, 2, 2, 7, 2, 2]) + frame[at + 9 :]
    dataset = compressed(halved_chroma, "YBR_FULL", JPEG2000Lossless)
    assert code_of(read_radiograph, as_file(dataset)) == "pixel-format-unsupported"
