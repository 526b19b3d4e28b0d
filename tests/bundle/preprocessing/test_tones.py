"""What the header says about tones, with invented pixels, against the picture given plainly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from scripts.preprocessing.load import read_radiograph
from synthetic.objects import make_cr
from synthetic.pictures import chest

AsFile = Callable[[Dataset], bytes]
Pixels = NDArray[np.int64]

ANATOMY: Pixels = 100 + chest(384, 320, 12) * 3800 // 4095
BORDER = np.ones((384, 320), dtype=bool)
BORDER[32:-32, 32:-32] = False


def instance(pixels: Pixels, *, bits: int = 16, signed: bool = False, **header: object) -> Dataset:
    dataset = make_cr(bits_stored=bits, signed=signed)
    dataset.PixelData = (pixels & 0xFFFF).astype("<u2").tobytes()
    for keyword, value in header.items():
        if keyword.startswith("PixelPadding"):
            vr = "SS" if isinstance(value, int) and value < 0 else "US"
            dataset.add_new(keyword, vr, value)
        else:
            setattr(dataset, keyword, value)
    return dataset


def bordered(value: int, offset: int = 0) -> Pixels:
    return np.where(BORDER, value, ANATOMY + offset)


@pytest.fixture
def plain(as_file: AsFile) -> NDArray[np.float32]:
    return read_radiograph(as_file(instance(bordered(0), bits=12)))


@pytest.mark.parametrize(
    "dataset",
    [
        instance(bordered(-2000), signed=True, PixelPaddingValue=-2000),
        instance(bordered(-2000), signed=True, PixelPaddingValue=63536),
        instance(bordered(0, 30000), PixelPaddingValue=0),
        instance(bordered(63536, 30000), PixelPaddingValue=-2000),
        instance(bordered(65535, 30000), PixelPaddingValue=65535),
        instance(bordered(16383, 4000), bits=14, PixelPaddingValue=16383),
        instance(bordered(0xF830), bits=12, PixelPaddingValue=0xF830),
        instance(bordered(0xF830 & 0xFFF), bits=12, PixelPaddingValue=0xF830),
        instance(bordered(30, 9000), PixelPaddingValue=50, PixelPaddingRangeLimit=0),
        instance(bordered(0, 30000)),
    ],
    ids=[
        "signed",
        "as unsigned",
        "offset",
        "negative",
        "white",
        "14 bits",
        "upper bits",
        "masked",
        "reversed",
        "unsaid",
    ],
)
def test_padding_is_black_and_counts_in_no_level(
    dataset: Dataset, plain: NDArray[np.float32], as_file: AsFile
) -> None:
    shown = read_radiograph(as_file(dataset))
    assert shown[BORDER].max() == 0
    # masked, a padding value may equal a grey level, of which there are a few pixels
    assert (np.abs(shown - plain) <= 2 / 255).mean() > 0.999


@pytest.mark.parametrize(("value", "limit"), [(0, 4095), (4095, 0), (0, 3000)])
def test_padding_that_covers_the_anatomy_is_ignored(
    value: int, limit: int, as_file: AsFile
) -> None:
    absurd = instance(ANATOMY, bits=12, PixelPaddingValue=value, PixelPaddingRangeLimit=limit)
    expected = read_radiograph(as_file(instance(ANATOMY, bits=12)))
    np.testing.assert_array_equal(read_radiograph(as_file(absurd)), expected)


def rectangle(left: int, right: int, top: int, bottom: int) -> dict[str, Any]:
    return {
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": left,
        "ShutterRightVerticalEdge": right,
        "ShutterUpperHorizontalEdge": top,
        "ShutterLowerHorizontalEdge": bottom,
    }


@pytest.mark.parametrize(
    "shutter",
    [
        rectangle(32, 289, 32, 353),
        rectangle(289, 32, 353, 32),
        rectangle(32, 289, 32, 353) | {"ShutterPresentationValue": 65535},
        {
            "ShutterShape": "POLYGONAL",
            "VerticesOfThePolygonalShutter": [33, 33, 33, 288, 352, 288, 352, 33],
        },
        {
            "ShutterShape": "POLYGONAL",
            "VerticesOfThePolygonalShutter": [33, 33, 352, 33, 352, 288, 33, 288],
        },
    ],
    ids=["rectangle", "reversed", "white", "polygon", "other winding"],
)
def test_what_a_shutter_hides_is_black_and_counts_in_no_level(
    shutter: dict[str, Any], plain: NDArray[np.float32], as_file: AsFile
) -> None:
    shown = read_radiograph(as_file(instance(bordered(4095), bits=12, **shutter)))
    np.testing.assert_allclose(shown, plain, atol=2 / 255)


def test_a_shutter_hides_in_colours_too(as_file: AsFile) -> None:
    grey = bordered(4095) >> 4
    shutter: dict[str, Any] = rectangle(32, 289, 32, 353)
    dataset = instance(grey, bits=8, **shutter)
    dataset.PixelData = np.stack([grey] * 3, axis=-1).astype("u1").tobytes()
    dataset.BitsAllocated = 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3, "RGB"
    dataset.PlanarConfiguration = 0
    shown = read_radiograph(as_file(dataset))
    assert shown[BORDER].max() == 0
    np.testing.assert_allclose(shown[~BORDER], grey[~BORDER] / 255, atol=1 / 255)


def test_a_circle_partly_outside_hides_what_is_beyond_its_radius(as_file: AsFile) -> None:
    circle: dict[str, Any] = {
        "ShutterShape": "CIRCULAR",
        "CenterOfCircularShutter": [100, 160],
        "RadiusOfCircularShutter": 180,
    }
    shown = read_radiograph(as_file(instance(ANATOMY, bits=12, **circle)))
    down, across = np.indices(ANATOMY.shape) + 1
    inside = (down - 100) ** 2 + (across - 160) ** 2 <= 180**2
    assert shown[~inside].max() == 0
    assert (shown[inside] > 0).mean() > 0.99


def test_an_overlay_hides_where_its_bits_are_set(
    plain: NDArray[np.float32], as_file: AsFile
) -> None:
    dataset = instance(bordered(4095), bits=12, ShutterShape="BITMAP")
    dataset.add_new("ShutterOverlayGroup", "US", 0x6002)
    dataset.add_new(0x60020010, "US", 384)
    dataset.add_new(0x60020011, "US", 320)
    dataset.add_new(0x60023000, "OW", np.packbits(BORDER, bitorder="little").tobytes())
    np.testing.assert_allclose(read_radiograph(as_file(dataset)), plain, atol=2 / 255)


@pytest.mark.parametrize(
    "shutter", [rectangle(1, 320, 1, 384), rectangle(5, 6, 5, 6), rectangle(900, 990, 0, 9)]
)
def test_a_shutter_that_hides_nothing_or_all_changes_nothing(
    shutter: dict[str, Any], as_file: AsFile
) -> None:
    expected = read_radiograph(as_file(instance(ANATOMY, bits=12)))
    shown = read_radiograph(as_file(instance(ANATOMY, bits=12, **shutter)))
    np.testing.assert_array_equal(shown, expected)


def lut(declared: int, entries: NDArray[np.int64], bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [declared % 65536, 0, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return Sequence([item])


RAMP = np.arange(4096)


@pytest.mark.parametrize(
    "table",
    [
        lut(4096, RAMP[:4095], 12),
        lut(4096, RAMP[:2048], 12),
        lut(4096, np.arange(5000), 12),
        lut(2048, RAMP, 12),
        lut(65536, RAMP, 12),
        lut(4096, RAMP, 16),
        lut(4096, np.minimum(RAMP * 256, 4095), 12),
    ],
    ids=["one less", "half", "more", "more than said", "0 said", "16 said", "clips"],
)
def test_a_damaged_voi_lut_shows_what_the_whole_one_does(table: Sequence, as_file: AsFile) -> None:
    window: dict[str, Any] = {"WindowCenter": 2048, "WindowWidth": 4096}
    whole = read_radiograph(as_file(instance(ANATOMY, bits=12, **window)))
    shown = read_radiograph(as_file(instance(ANATOMY, bits=12, VOILUTSequence=table, **window)))
    np.testing.assert_allclose(shown, whole, atol=0.01)


@pytest.mark.parametrize("count", [4096, 4094])
def test_entries_of_one_byte_may_be_fewer_than_declared(count: int, as_file: AsFile) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 8])
    item.add_new("LUTData", "OB", (RAMP**2 >> 16).astype("u1")[:count].tobytes())
    bent = lut(4096, RAMP**2 >> 12, 12)
    whole = read_radiograph(as_file(instance(ANATOMY, bits=12, VOILUTSequence=bent)))
    narrow: dict[str, Any] = {"WindowCenter": 400, "WindowWidth": 1}
    shown = read_radiograph(
        as_file(instance(ANATOMY, bits=12, VOILUTSequence=Sequence([item]), **narrow))
    )
    np.testing.assert_allclose(shown, whole, atol=0.01)


def test_a_hot_pixel_bends_no_level(as_file: AsFile) -> None:
    hot = ANATOMY.copy()
    hot[::64, ::64] = 65535
    shown, expected = (read_radiograph(as_file(instance(each))) for each in (hot, ANATOMY))
    anatomy = hot != 65535
    assert (shown[~anatomy] == 1).all()
    # white is at the fence, up to half the width of most of the anatomy above it: a linear change
    slope, offset = np.polyfit(expected[anatomy], shown[anatomy], 1)
    assert 0.6 < slope <= 1
    assert abs(offset) < 2 / 255
    np.testing.assert_allclose(shown[anatomy], slope * expected[anatomy] + offset, atol=1 / 255)
