"""A radiograph is read at the network's size, and JPEG 2000 at a lower resolution.

The reference is the way of the libraries: every pixel decoded and looked up, and resized by torch.
"""

import contextlib
import io
import random
import tracemalloc
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from openjpeg.utils import encode as encode_openjpeg
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless
from scripts.bundle.loaded import load_bundle
from scripts.preprocessing.decode import Decoded, decode
from scripts.preprocessing.dicom import read_dicom
from scripts.preprocessing.intensity import scale_percentiles
from scripts.preprocessing.load import LoadRadiographd, read_radiograph
from scripts.preprocessing.pixel_header import read_pixel_header
from scripts.preprocessing.resampling import reduced_weights, resize_words
from scripts.robustness.decoding import SYNTAXES as CHECKED
from scripts.robustness.decoding import check_decoding, encode
from scripts.robustness.renderings import as_file, build_instance
from support.refusal_code import code_of
from synthetic.pictures import chest

SIZE = (224, 224)
ROWS, COLUMNS, BITS = 1000, 1100, 12
SYNTAXES = ("JPEG 2000 lossless", "JPEG 2000 lossy", "HTJ2K lossless")
VALUES = {"PixelPaddingValue": "US", "ShutterShape": "CS"}  # their representations; IS for others
OVER_THE_NETWORK = 0.005  # of a probability
ROUNDING = 1e-6  # two ways of resizing the same pixels differ by less on average


def radiograph(rows: int = ROWS, columns: int = COLUMNS) -> NDArray[np.uint16]:
    noise = np.random.default_rng(1).normal(0, 8, (rows, columns))
    return np.clip(chest(rows, columns, BITS) + noise, 0, 4095).astype("<u2")


def resized(luminance: NDArray[np.float32]) -> torch.Tensor:
    image = torch.from_numpy(luminance)[None, None]
    return torch.nn.functional.interpolate(image, SIZE, mode="bilinear", antialias=True)[0]


def in_full(content: bytes) -> torch.Tensor:
    return scale_percentiles(resized(read_radiograph(content)))


def at_size(content: bytes) -> torch.Tensor:
    return scale_percentiles(read_dicom(content, SIZE, is_whole=False)[0])


@pytest.mark.parametrize("shape", [(224, 224), (300, 420), (64, 64), (100, 500), (1001, 777)])
def test_words_are_resized_as_torch_resizes_luminance(shape: tuple[int, int]) -> None:
    random_words = np.random.default_rng(2).integers(0, 4096, shape).astype("u2")
    table = (np.linspace(0, 1, 4096) ** 3).astype("f4")
    hidden = np.zeros(shape, dtype=bool)
    hidden[: shape[0] // 5] = True
    expected = resized(np.where(hidden, np.float32(0), table[random_words]))
    found = resize_words(table, random_words, SIZE, hidden=hidden)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("tones", [0, 1, 2], ids=["no tones", "window", "VOI LUT"])
def test_the_lower_resolution_gives_nearly_the_tensor_of_all_pixels(
    syntax: str, tones: int
) -> None:
    require_nearly_the_same(encode(radiograph(), BITS, tones, syntax))


def require_nearly_the_same(content: bytes) -> None:
    """Require that a lower resolution is decoded, and that it hardly changes the tensor."""
    difference = (at_size(content) - in_full(content)).abs()
    assert difference.mean() > ROUNDING, "all pixels are decoded"
    assert difference.mean() < 0.0006, "samples that lie half a pixel off make it 0.0016"
    assert difference.max() < 0.003


def test_odd_sides_have_a_lower_resolution_too() -> None:
    require_nearly_the_same(encode(radiograph(2001, 1989), BITS, 1, "HTJ2K lossless"))


@pytest.mark.parametrize("bits", [10, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_signed_values_are_read_at_the_lower_resolution(bits: int, photometric: str) -> None:
    depth = BITS - bits
    words = radiograph() >> depth if depth > 0 else radiograph() << -depth
    signed = (words.astype("i4") - (1 << (bits - 1))).astype("<i2")
    dataset = build_instance(signed, bits, photometric)
    dataset.PixelRepresentation = 1
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    frame = encode_openjpeg(signed, bits_stored=bits, photometric_interpretation=2, codec_format=0)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    require_nearly_the_same(as_file(dataset))


def test_the_weights_of_a_long_side_take_little_memory() -> None:
    """A side may have 16,384 pixels; as a matrix its transform takes gigabytes."""
    tracemalloc.start()
    weights = reduced_weights(16_384, 224, 1, is_reversible=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert weights[-1][0].stop == 16_384 // 2
    assert peak < 400e6


def decoded(frame: bytes, least_side: int = 448, **header: object) -> Decoded:
    """Decode a JPEG 2000 codestream with a header of the radiograph, but for some elements."""
    dataset = build_instance(radiograph(), BITS, "MONOCHROME2")
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate([frame])
    return decode(read_pixel_header(dataset), dataset.PixelData, least_side)


def frame_of(**options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(radiograph()).save(file, "JPEG2000", no_jp2=True, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("least_side", "levels"), [(1001, 0), (1000, 0), (501, 0), (500, 1), (250, 2), (3, 3)]
)
def test_the_lowest_resolution_is_taken_that_leaves_enough_samples(
    least_side: int, levels: int
) -> None:
    frame = frame_of(num_resolutions=4)
    found = decoded(frame, least_side, BitsStored=16, HighBit=15)
    assert found.levels == levels
    assert found.values.shape == (-(-ROWS // 2**levels), -(-COLUMNS // 2**levels))


@pytest.mark.parametrize("header", [{"BitsStored": 12}, {"PixelRepresentation": 1}])
def test_a_codestream_that_contradicts_the_header_is_decoded_in_full(
    header: dict[str, int],
) -> None:
    sixteen = {"BitsStored": 16, "HighBit": 15}
    assert decoded(frame_of(), **sixteen).levels == 1
    contradicting = sixteen | header | {"HighBit": header.get("BitsStored", 16) - 1}
    assert decoded(frame_of(), **contradicting).levels == 0


def test_tiles_are_decoded_in_full() -> None:
    found = decoded(frame_of(tile_size=(250, 300)), BitsStored=16, HighBit=15)
    assert found.levels == 0


@pytest.mark.parametrize(
    "change",
    [
        {"PixelPaddingValue": 0},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [500, 500]}
        | {"RadiusOfCircularShutter": 450},
    ],
    ids=["padding", "shutter"],
)
def test_padding_and_a_shutter_are_read_from_all_pixels(change: dict[str, object]) -> None:
    words = radiograph()
    words[:100] = 0
    tensors = []
    for syntax in ("uncompressed", "JPEG 2000 lossless"):
        dataset = dcmread(io.BytesIO(encode(words, BITS, 1, syntax)))
        for keyword, value in change.items():
            dataset.add_new(keyword, VALUES.get(keyword, "IS"), value)
        tensors.append(at_size(as_file(dataset)))
    assert torch.equal(*tensors)


@pytest.mark.parametrize("tones", [0, 1, 2], ids=["no tones", "window", "VOI LUT"])
def test_the_picture_for_people_is_whole_and_has_the_tones_of_the_tensor(
    tmp_path: Path, tones: int
) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(encode(radiograph(), BITS, tones, "JPEG 2000 lossless"))
    load = LoadRadiographd(keys="image", spatial_size=SIZE)
    given: dict[Hashable, Any] = {"image": str(path), "image_tones": None}
    network, people = load(given), load(given | {"image_for_people": True})
    assert (network["image"].shape, people["image"].shape) == ((1, *SIZE), (1, ROWS, COLUMNS))
    assert repr(network["image_tones"]) == repr(people["image_tones"])
    shown = resized(people["image"][0].numpy())
    torch.testing.assert_close(network["image"], shown, atol=0.02, rtol=0)


@pytest.mark.parametrize("syntax", ["uncompressed", *SYNTAXES])
def test_a_picture_of_so_many_pixels_is_the_whole_one_averaged(tmp_path: Path, syntax: str) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(encode(radiograph(), BITS, 1, syntax))
    load = LoadRadiographd(keys="image", spatial_size=SIZE)
    given: dict[Hashable, Any] = {"image": str(path), "image_tones": None}
    whole = load(given | {"image_for_people": True})
    small = load(given | {"image_for_people": COLUMNS // 2})
    rows, columns = small["image"].shape[1:]
    assert (rows, columns) == (ROWS // 2, COLUMNS // 2)
    assert repr(small["image_tones"]) == repr(whole["image_tones"])
    averaged = torch.nn.functional.interpolate(whole["image"][None], (rows, columns), mode="area")
    difference = (small["image"] - averaged[0]).abs()
    assert float(difference.mean()) < 0.004
    assert float(difference.max()) < 0.1


def test_a_picture_of_half_the_pixels_is_the_mean_of_squares(tmp_path: Path) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(encode(radiograph(), BITS, 1, "uncompressed"))
    load = LoadRadiographd(keys="image", spatial_size=SIZE)
    whole = load({"image": str(path), "image_for_people": True})["image"]
    half = load({"image": str(path), "image_for_people": COLUMNS // 2})["image"]
    assert torch.equal(half, torch.nn.functional.avg_pool2d(whole, 2))


def padded(words: NDArray[np.uint16], syntax: str) -> bytes:
    dataset = dcmread(io.BytesIO(encode(words, BITS, 1, syntax)))
    dataset.add_new("PixelPaddingValue", "US", 0)
    return as_file(dataset)


def shuttered(words: NDArray[np.uint16], syntax: str) -> bytes:
    dataset = dcmread(io.BytesIO(encode(words, BITS, 0, syntax)))
    dataset.add_new("ShutterShape", "CS", "CIRCULAR")
    dataset.add_new("CenterOfCircularShutter", "IS", [500, 500])
    dataset.add_new("RadiusOfCircularShutter", "IS", 450)
    return as_file(dataset)


def colours(words: NDArray[np.uint16], _: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((words >> 4).astype("u1")).convert("RGB").save(stream, "PNG")
    return stream.getvalue()


def plain(words: NDArray[np.uint16], syntax: str) -> bytes:
    return encode(words, BITS, 0, syntax)


EVERY_WAY = [
    *((plain, syntax, COLUMNS // 2) for syntax in ("uncompressed", *SYNTAXES)),
    *((plain, "JPEG 2000 lossy", least) for least in (COLUMNS // 4, COLUMNS // 2 + 1, 4 * COLUMNS)),
    *((padded, syntax, COLUMNS // 2) for syntax in ("uncompressed", "JPEG 2000 lossless")),
    *((shuttered, syntax, COLUMNS // 2) for syntax in ("uncompressed", "JPEG 2000 lossless")),
    (colours, "PNG", COLUMNS // 2),
]


@pytest.mark.parametrize(("make", "syntax", "least"), EVERY_WAY)
def test_input_and_picture_that_are_read_at_once_are_those_that_are_read_apart(
    tmp_path: Path, make: Callable[..., bytes], syntax: str, least: int
) -> None:
    path = tmp_path / "file"
    words = radiograph()
    words[:50] = 0
    path.write_bytes(make(words, syntax))
    load = LoadRadiographd(keys="image", spatial_size=SIZE)
    given: dict[Hashable, Any] = {"image": str(path), "image_tones": None}
    network, people = load(given), load(given | {"image_for_people": least})
    both = load(given | {"image_picture": least})
    assert torch.equal(both["image"], network["image"])
    assert torch.equal(both["image_picture"], people["image"])
    assert repr(both["image_tones"]) == repr(network["image_tones"]) == repr(people["image_tones"])
    assert both["image_hidden"] == network["image_hidden"]


@pytest.mark.parametrize("least", [COLUMNS // 2 + 1, COLUMNS])
def test_a_picture_never_has_fewer_pixels_than_were_asked_for(tmp_path: Path, least: int) -> None:
    path = tmp_path / "file.dcm"
    path.write_bytes(encode(radiograph(), BITS, 1, "JPEG 2000 lossless"))
    load = LoadRadiographd(keys="image", spatial_size=SIZE)
    shown = load({"image": str(path), "image_for_people": least})["image"]
    assert shown.shape == (1, ROWS, COLUMNS)


@pytest.mark.parametrize("syntax", SYNTAXES[:2])
def test_a_codestream_is_refused_as_if_all_pixels_were_decoded(syntax: str) -> None:
    chance = random.Random(3)
    content = encode(radiograph(700, 700), BITS, 1, syntax)
    start = content.index(b"\xff\x4f\xff\x51")
    refused = set()
    for number in range(30):
        damaged = bytearray(content)
        end = start + 150 if number % 2 else len(content)
        for _ in range(chance.choice([1, 3, 30])):
            damaged[chance.randrange(start, end)] = chance.randrange(256)
        given = bytes(damaged[: len(damaged) * chance.choice([9, 10, 10]) // 10])
        refused.add(code_of(in_full, given))
        assert code_of(at_size, given) == code_of(in_full, given), number
    assert {None, "pixels-unreadable"} <= refused


@pytest.mark.slow
def test_the_probability_hardly_moves_in_any_syntax(bundle: Path, tmp_path: Path) -> None:
    """A small run of `python -m scripts.robustness.decoding`, on synthetic pictures."""
    for number in range(2):
        picture = Image.fromarray(chest(512 - 100 * number, 512, 8).astype("u1"))
        picture.save(tmp_path / f"{number}.png")
    with contextlib.chdir(bundle):
        loaded = load_bundle()
    moved = check_decoding(loaded, sorted(tmp_path.iterdir()), list(CHECKED))
    assert {syntax: len(each) for syntax, each in moved.items()} == dict.fromkeys(CHECKED, 2)
    assert max(map(max, moved.values())) <= OVER_THE_NETWORK
