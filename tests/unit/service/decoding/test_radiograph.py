"""Radiographs as people see them: samples, tones and pictures of synthetic instances."""

import gzip
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from synthetic.objects import encode, make_cr, make_dx, make_sc
from synthetic.part10 import part10

from service.decoding.answer import Answer
from service.decoding.radiograph import MOST_SAMPLES, RadiographHandler
from service.domain.reasons import Reason

Values = NDArray[np.float64]
LOSSLESS: Final = (
    ImplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
)


def ask(folder: Path, given: Dataset | bytes, **request: object) -> Answer:
    path = folder / "given.dcm"
    path.write_bytes(given if isinstance(given, bytes) else part10(given))
    return RadiographHandler()({"radiograph": str(path), **request})


def sampled(folder: Path, given: Dataset) -> tuple[dict[str, Any], Values]:
    """Return the description and the values that the samples stand for."""
    answer = ask(folder, given, **{"as": "samples", "compressed": False})
    assert "refused" not in answer.values, answer.values
    description = answer.values["description"]
    samples = answer.arrays["body"]
    assert samples.dtype == np.dtype("<u2")
    assert samples.shape == (description["rows"], description["columns"])
    return description, samples * description["slope"] + description["intercept"]


def picture(folder: Path, given: Dataset, width: int = 4096) -> NDArray[np.uint8]:
    answer = ask(folder, given, **{"as": "picture", "width": width})
    assert "refused" not in answer.values, answer.values
    return np.asarray(Image.open(io.BytesIO(answer.arrays["body"].tobytes())))


def refusal(folder: Path, given: Dataset | bytes) -> str:
    answers = [
        ask(folder, given, **{"as": "samples", "compressed": True}),
        ask(folder, given, **{"as": "picture", "width": 100}),
        ask(folder, given, **{"as": "description"}),
        ask(folder, given, **{"as": "output"}),
    ]
    reasons = {str(each.values.get("refused")) for each in answers[:3]}
    assert len(reasons) == 1, reasons
    assert not any(each.arrays for each in answers[:3])
    return reasons.pop()


def shown_by_pydicom(dataset: Dataset) -> Values:
    """Return the brightness, 0 to 255, of the pipeline that pydicom has."""
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    levels = np.asarray(values, dtype=np.float64) / (2**dataset.BitsStored - 1) * 255
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def put_values(dataset: Dataset, values: NDArray[np.generic]) -> None:
    dataset.Rows, dataset.Columns = values.shape
    dataset.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 16])
def test_samples_are_the_values_of_the_modality_transform(
    tmp_path: Path,
    photometric: str,
    signed: bool,  # noqa: FBT001 -- pytest's way
    bits: int,
) -> None:
    dataset = make_cr(photometric=photometric, signed=signed, bits_stored=bits)
    dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-100"
    description, values = sampled(tmp_path, dataset)
    assert np.array_equal(values, dataset.pixel_array * 0.5 - 100)
    assert description["inverted"] is (photometric == "MONOCHROME1")
    assert description["photometric_interpretation"] == photometric
    assert description["bits_stored"] == bits
    assert (description["original_rows"], description["reduction"]) == (dataset.Rows, 1)
    assert description["pixel_spacing"] == {
        "rows": 1.1,
        "columns": 1.1,
        "attribute": "ImagerPixelSpacing",
    }


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_transfer_syntax_gives_the_same_samples(tmp_path: Path, syntax: str) -> None:
    dataset = make_dx()
    _, wanted = sampled(tmp_path, dataset)
    _, found = sampled(tmp_path, encode(dataset, syntax))
    assert np.array_equal(found, wanted)


def test_a_lossy_jpeg_gives_nearly_the_same(tmp_path: Path) -> None:
    dataset = make_sc()
    _, found = sampled(tmp_path, encode(dataset, JPEGBaseline8Bit))
    assert np.abs(found - dataset.pixel_array).max() <= 8


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("function", ["", "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_picture_has_the_tones_of_the_window_in_the_header(
    tmp_path: Path, photometric: str, function: str
) -> None:
    dataset = make_cr(photometric=photometric)
    centre = 2295 if photometric == "MONOCHROME1" else 1800
    dataset.WindowCenter, dataset.WindowWidth = [centre, 900], [1500, 300]
    if function:
        dataset.VOILUTFunction = function
    expected = shown_by_pydicom(dataset)
    assert np.abs(picture(tmp_path, dataset) - expected).max() <= 1
    description, _ = sampled(tmp_path, dataset)
    assert description["source"] == "header"
    assert description["window"]["centre"] == centre
    assert description["window"]["function"] == (function or "LINEAR")


def test_a_window_that_leaves_nothing_to_see_is_passed_over(tmp_path: Path) -> None:
    dataset = make_cr()
    dataset.WindowCenter, dataset.WindowWidth = [30000, 1800], [100, 1500]
    dataset.WindowCenterWidthExplanation = ["NONE", "LUNG"]
    description, _ = sampled(tmp_path, dataset)
    assert [each["name"] for each in description["windows"]] == ["LUNG"]
    assert description["window"]["centre"] == 1800
    dataset.WindowCenter, dataset.WindowWidth = 1800, 0
    assert sampled(tmp_path, dataset)[0]["source"] == "automatic"


def test_without_a_window_the_outermost_hundredths_are_left_out(tmp_path: Path) -> None:
    dataset = make_cr(rows=100, columns=100)
    values = np.arange(10_000, dtype=np.uint16).reshape(100, 100) % 4000
    put_values(dataset, values)
    description, _ = sampled(tmp_path, dataset)
    low, high = np.quantile(values, [0.01, 0.99])
    assert description["source"] == "automatic"
    window = description["window"]
    assert window["centre"] - 0.5 - (window["width"] - 1) / 2 == pytest.approx(low, abs=5)
    assert window["centre"] - 0.5 + (window["width"] - 1) / 2 == pytest.approx(high, abs=5)
    shown = picture(tmp_path, dataset)
    assert (shown.min(), shown.max()) == (0, 255)


def test_eight_bits_without_a_window_are_shown_as_they_are(tmp_path: Path) -> None:
    dataset = make_sc()
    put_values(dataset, np.clip(dataset.pixel_array, 40, 180))
    assert np.array_equal(picture(tmp_path, dataset), dataset.pixel_array)


def table(first: int, entries: NDArray[np.integer[Any]], bits: int = 16) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTDescriptor"].VR, item["LUTData"].VR = "US", "OW"
    return item


def test_a_voi_lut_gives_the_tones_that_it_says(tmp_path: Path) -> None:
    dataset = make_cr()
    curve = np.rint(65535 * (np.arange(4096) / 4095) ** 2).astype(np.int64)
    dataset.VOILUTSequence = [table(0, curve)]
    dataset.WindowCenter, dataset.WindowWidth = 1000, 500
    expected = curve[dataset.pixel_array] / 65535 * 255
    assert np.abs(picture(tmp_path, dataset) - expected).max() <= 1
    description, _ = sampled(tmp_path, dataset)
    assert description["source"] == "table"
    assert (description["table"]["first"], description["table"]["last"]) == (0, 4095)
    assert description["window"] == {
        "centre": 2048,
        "width": 4096,
        "function": "LINEAR",
        "name": "",
    }


@pytest.mark.parametrize(
    "broken",
    [
        table(0, np.full(4096, 7)),  # one tone
        table(0, np.arange(100)),  # the image lies beyond it
        Dataset(),
    ],
)
def test_a_voi_lut_that_is_of_no_use_is_passed_over(tmp_path: Path, broken: Dataset) -> None:
    dataset = make_cr()
    dataset.VOILUTSequence = [broken]
    assert sampled(tmp_path, dataset)[0]["source"] == "automatic"


def test_a_modality_lut_is_applied_to_the_samples(tmp_path: Path) -> None:
    dataset = make_cr()
    curve = 60000 - np.arange(4096) * 10
    dataset.ModalityLUTSequence = [table(0, curve)]
    description, values = sampled(tmp_path, dataset)
    assert np.array_equal(values, curve[dataset.pixel_array])
    assert (description["slope"], description["intercept"]) == (1, 0)


@pytest.mark.parametrize("value", [0, 65535])
def test_padding_is_black_and_does_not_count(tmp_path: Path, value: int) -> None:
    dataset = make_cr(bits_stored=16, photometric="MONOCHROME1")
    values = (dataset.pixel_array // 20 + 30_000).astype(np.uint16)
    values[:40] = value
    put_values(dataset, values)
    dataset.PixelPaddingValue = value
    description, _ = sampled(tmp_path, dataset)
    low = description["window"]["centre"] - description["window"]["width"] / 2
    assert 29_000 < low < 34_000
    assert not picture(tmp_path, dataset)[:40].any()


def test_overlay_bits_above_the_values_are_not_part_of_them(tmp_path: Path) -> None:
    dataset = make_cr()
    wanted = dataset.pixel_array
    put_values(dataset, wanted | (0x5 << 12))
    _, values = sampled(tmp_path, dataset)
    assert np.array_equal(values, wanted)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("planar", [0, 1])
def test_colours_are_shown_by_their_luminance(tmp_path: Path, syntax: str, planar: int) -> None:
    dataset = make_sc(photometric="RGB")
    colours = np.random.default_rng(1).integers(
        0, 256, (dataset.Rows, dataset.Columns, 3), dtype=np.uint8
    )
    dataset.PixelData = colours.tobytes()
    dataset = encode(dataset, syntax)
    if syntax == ExplicitVRLittleEndian and planar:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = np.ascontiguousarray(colours.transpose(2, 0, 1)).tobytes()
    description, values = sampled(tmp_path, dataset)
    assert np.abs(values - colours @ [0.299, 0.587, 0.114]).max() <= 0.5001
    assert description["colour"]
    assert np.array_equal(picture(tmp_path, dataset), values)


def test_a_palette_is_shown_by_the_luminance_of_its_colours(tmp_path: Path) -> None:
    dataset = make_sc()
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for place, colour in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        entries = ((255 - np.arange(256)) * 257 // (place + 1)).astype("<u2")
        setattr(dataset, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    _, values = sampled(tmp_path, dataset)
    share = 0.299 + 0.587 / 2 + 0.114 / 3
    assert np.allclose(values, (255 - dataset.pixel_array) * 257.0 * share, atol=2)


def test_a_large_radiograph_is_averaged_and_says_by_how_much(tmp_path: Path) -> None:
    dataset = make_cr(rows=100, columns=100)
    values = np.random.default_rng(2).integers(0, 4096, (70, MOST_SAMPLES + 3), dtype=np.uint16)
    put_values(dataset, values)
    description, found = sampled(tmp_path, dataset)
    assert description["reduction"] == 2
    assert found.shape == (35, MOST_SAMPLES // 2 + 2)
    assert (description["original_rows"], description["original_columns"]) == values.shape
    assert found[3, 5] == pytest.approx(values[6:8, 10:12].mean(), abs=0.5)
    assert found[3, -1] == pytest.approx(values[6:8, -1:].mean(), abs=0.5)


def test_a_picture_is_as_wide_as_was_asked_and_no_wider_than_the_radiograph(
    tmp_path: Path,
) -> None:
    dataset = make_cr(rows=300, columns=200)
    assert picture(tmp_path, dataset, 100).shape == (150, 100)
    assert picture(tmp_path, dataset, 4000).shape == (300, 200)


def test_samples_through_gzip_are_the_same(tmp_path: Path) -> None:
    dataset = make_cr()
    plain = ask(tmp_path, dataset, **{"as": "samples", "compressed": False})
    packed = ask(tmp_path, dataset, **{"as": "samples", "compressed": True})
    assert gzip.decompress(packed.arrays["body"].tobytes()) == plain.arrays["body"].tobytes()
    assert packed.values == plain.values
    assert ask(tmp_path, dataset, **{"as": "description"}).values == plain.values


@pytest.mark.parametrize("photometric", ["RGB", "MONOCHROME2"])
def test_an_output_is_shown_value_for_value(tmp_path: Path, photometric: str) -> None:
    dataset = make_sc(photometric=photometric, rows=40, columns=90)
    dataset.WindowCenter, dataset.WindowWidth = 10, 5  # which an overlay has not
    shape = (40, 90, 3) if photometric == "RGB" else (40, 90)
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    dataset.PixelData = pixels.tobytes()
    answer = ask(tmp_path, dataset, **{"as": "output"})
    shown = Image.open(io.BytesIO(answer.arrays["body"].tobytes()))
    assert np.array_equal(np.asarray(shown), pixels)


def changed(**values: object) -> Dataset:
    dataset = make_cr()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def without_pixels() -> Dataset:
    dataset = make_cr()
    del dataset.PixelData
    return dataset


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", Reason.UNDECODABLE),
        (b"no DICOM at all" * 100, Reason.UNDECODABLE),
        (without_pixels(), Reason.NO_PIXELS),
        (changed(PixelData=b""), Reason.NO_PIXELS),
        (changed(NumberOfFrames=2), Reason.MULTI_FRAME),
        (changed(Rows=16), Reason.SIZE),
        (changed(Rows=40_000, Columns=40_000), Reason.SIZE),
        (changed(Rows=16_000, Columns=16_000), Reason.SIZE),
        (changed(BitsAllocated=32), Reason.PIXEL_FORMAT),
        (changed(BitsAllocated=1, BitsStored=1), Reason.PIXEL_FORMAT),
        (changed(SamplesPerPixel=4), Reason.PIXEL_FORMAT),
        (changed(PhotometricInterpretation="HSV"), Reason.PIXEL_FORMAT),
        (changed(Rows=16_000, Columns=6_000), Reason.PIXELS_UNREADABLE),
        (changed(BitsStored=None), Reason.PIXELS_UNREADABLE),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_code(
    tmp_path: Path, given: Dataset | bytes, reason: Reason
) -> None:
    assert refusal(tmp_path, given) == reason


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless])
def test_a_codestream_of_another_size_is_refused(tmp_path: Path, syntax: str) -> None:
    dataset = encode(make_cr(), syntax)
    dataset.Columns -= 8
    assert refusal(tmp_path, dataset) == Reason.CODESTREAM


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_a_codestream_that_is_cut_off_is_refused(tmp_path: Path, syntax: str) -> None:
    dataset = encode(make_cr(), syntax)
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 3]
    dataset["PixelData"].is_undefined_length = True
    assert refusal(tmp_path, dataset) in {Reason.PIXELS_UNREADABLE, Reason.NO_PIXELS}


def test_a_jpeg_of_too_many_passes_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    dataset = encode(make_sc(), JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([b"\xff\xd8\xff" + b"\xff\xda\0\0" * 65])
    dataset["PixelData"].is_undefined_length = True
    assert refusal(tmp_path, dataset) == Reason.SIZE


def test_a_file_that_is_not_there_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RadiographHandler()({"radiograph": str(tmp_path / "nowhere"), "as": "description"})
