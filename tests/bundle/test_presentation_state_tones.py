"""DCMTK shows a radiograph under its presentation state as the bundle saw it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from synthetic.objects import make_cr
from synthetic.pictures import chest
from synthetic.report_sources import NOW, predicted

from workers.inference.decoders import RadiographHandler
from workers.reporting.output import Output
from workers.reporting.presentation_state.build import build_presentation_state
from workers.tones import Tones

Program = Callable[[str], Path]
Header = dict[str, Any]

FEW_LEVELS = 3 / 255
ANATOMY: NDArray[np.int64] = 100 + chest(384, 320, 12) * 3800 // 4095
BORDER = np.ones(ANATOMY.shape, dtype=bool)
BORDER[32:-32, 32:-32] = False
RAMP = np.arange(4096)
WINDOW: Header = {"WindowCenter": 1800, "WindowWidth": 3000}
RECTANGLE: Header = {
    "ShutterShape": "RECTANGULAR",
    "ShutterLeftVerticalEdge": 32,
    "ShutterRightVerticalEdge": 289,
    "ShutterUpperHorizontalEdge": 32,
    "ShutterLowerHorizontalEdge": 353,
}


def lut(declared: int, entries: NDArray[np.int64], bits: int = 12, **more: str) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [declared % 65536, 0, bits])
    for keyword, value in more.items():
        setattr(item, keyword, value)
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return Sequence([item])


def source(
    border: int | None = None,
    offset: int = 0,
    *,
    bits: int = 12,
    photometric: str = "MONOCHROME2",
    **header: object,
) -> Dataset:
    dataset = make_cr(bits_stored=bits, photometric=photometric)
    for keyword in ("WindowCenter", "WindowWidth"):
        dataset.pop(keyword, None)
    pixels = ANATOMY + offset if border is None else np.where(BORDER, border, ANATOMY + offset)
    dataset.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in header.items():
        if keyword.startswith("PixelPadding"):
            dataset.add_new(keyword, "US", value)
        else:
            setattr(dataset, keyword, value)
    return dataset


@pytest.fixture(scope="module")
def handler(bundle: Path) -> RadiographHandler:
    return RadiographHandler(bundle)


def read(handler: RadiographHandler, path: Path) -> tuple[NDArray[np.float32], Tones]:
    """Read a radiograph as decoders do: the picture, and the tones through JSON."""
    answer = handler({"path": str(path)})
    shown = handler({"shown": str(path)})
    tones = Tones.read(json.loads(json.dumps(answer.values["tones"])), answer.arrays)
    assert tones is not None
    return np.divide(shown.arrays["picture"], 255, dtype=np.float32), tones  # of its levels


def state_of(path: Path, tones: Tones | None) -> Output:
    header = dcmread(path, stop_before_pixels=True)
    state = build_presentation_state(header, predicted(), now=NOW, tones=tones)
    assert state is not None
    return state


CASES = {
    "padding": source(0, 30000, bits=16, PixelPaddingValue=0),
    "white padding": source(65535, 30000, bits=16, PixelPaddingValue=65535),
    "white padding, MONOCHROME1": source(
        65535, 30000, bits=16, PixelPaddingValue=65535, photometric="MONOCHROME1"
    ),
    "a border": source(0, 30000, bits=16),
    "a shutter": source(4095, **RECTANGLE),
    "a white shutter, reversed": source(
        4095,
        **RECTANGLE
        | {"ShutterLeftVerticalEdge": 289, "ShutterRightVerticalEdge": 32}
        | {"ShutterPresentationValue": 65535},
    ),
    "a shutter that hides all": source(
        **RECTANGLE | {"ShutterRightVerticalEdge": 34, "ShutterLowerHorizontalEdge": 34} | WINDOW
    ),
    "few levels": source(20000, 30000, bits=16),
    "whole range": source(),
    "rescaled": source(
        bits=16, offset=9000, RescaleSlope=2, RescaleIntercept=-1024, RescaleType="US"
    ),
    "window": source(**WINDOW),
    "window, MONOCHROME1": source(photometric="MONOCHROME1", **WINDOW),
    "window that shows nothing": source(WindowCenter=60000, WindowWidth=10),
    "sigmoid": source(VOILUTFunction="SIGMOID", **WINDOW),
    "LUT": source(VOILUTSequence=lut(4096, RAMP**2 // 4095)),
    "LUT, MONOCHROME1": source(
        VOILUTSequence=lut(4096, RAMP**2 // 4095), photometric="MONOCHROME1"
    ),
    "LUT that clips": source(VOILUTSequence=lut(4096, np.minimum(RAMP * 256, 4095)), **WINDOW),
    "LUT one short": source(VOILUTSequence=lut(4096, RAMP[:4095])),
    "LUT half": source(VOILUTSequence=lut(4096, RAMP[:2048]), **WINDOW),
    "LUT too long": source(VOILUTSequence=lut(4096, np.arange(5000))),
    "LUT longer than it says": source(VOILUTSequence=lut(2048, RAMP)),
    "modality LUT, one short": source(
        ModalityLUTSequence=lut(4096, 2 * RAMP[:4095], 13, ModalityLUTType="US")
    ),
    "presentation LUT": source(PresentationLUTSequence=lut(4096, 4095 - RAMP**2 // 4095), **WINDOW),
}


@pytest.mark.dcmtk
@pytest.mark.parametrize("case", sorted(CASES.keys() - {"sigmoid"}))  # DCMTK shows it as linear
def test_dcmtk_shows_the_anatomy_as_the_bundle_does(
    case: str, handler: RadiographHandler, program: Program, tmp_path: Path
) -> None:
    image, state, grey = (tmp_path / name for name in ("image.dcm", "state.dcm", "grey.pgm"))
    CASES[case].save_as(image, enforce_file_format=True)
    picture, tones = read(handler, image)
    state.write_bytes(state_of(image, tones).encode())
    subprocess.run([program("dcmp2pgm"), "--pstate", state, image, grey], check=True)
    shown = np.asarray(Image.open(grey), dtype=np.float32) / 255
    assert np.ptp(picture[~BORDER]) > 0.4, "a picture of one tone would show nothing"
    np.testing.assert_allclose(shown[~BORDER], picture[~BORDER], atol=FEW_LEVELS)


@pytest.mark.parametrize(
    ("case", "edges"),
    [
        ("a shutter", (32, 289)),
        ("a white shutter, reversed", (32, 289)),
        ("a shutter that hides all", None),
    ],
)
def test_a_state_has_the_shutter_that_the_bundle_applied_and_shows_it_black(
    case: str, edges: tuple[int, int] | None, handler: RadiographHandler, tmp_path: Path
) -> None:
    image = tmp_path / "image.dcm"
    CASES[case].save_as(image, enforce_file_format=True)
    picture, tones = read(handler, image)
    state = state_of(image, tones).dataset
    assert ("ShutterShape" in state) == bool((picture[BORDER] == 0).all()) == (edges is not None)
    if edges is not None:
        assert (state.ShutterLeftVerticalEdge, state.ShutterRightVerticalEdge) == edges
        assert state.ShutterPresentationValue == 0


@pytest.mark.parametrize(
    "case", ["window", "window, MONOCHROME1", "sigmoid", "LUT", "LUT, MONOCHROME1"]
)
def test_a_good_window_or_table_is_repeated_as_the_header_has_it(
    case: str, handler: RadiographHandler, tmp_path: Path
) -> None:
    image = tmp_path / "image.dcm"
    CASES[case].save_as(image, enforce_file_format=True)
    _, tones = read(handler, image)
    assert state_of(image, tones).encode() == state_of(image, None).encode()


def test_a_bundle_that_describes_no_tones_leaves_them_to_the_header() -> None:
    assert Tones.read({}, {}) is None
