import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing
from pydicom.sequence import Sequence
from scripts.preprocessing.greyscale import luminance_table
from scripts.preprocessing.pixel_header import read_pixel_header
from synthetic.objects import make_cr, make_dx, make_sc
from synthetic.pictures import chest

Prepare = Callable[[bytes | Dataset], torch.Tensor]

GREY_LEVEL = 2 / 4095  # one of 12 bits, in a tensor that spans -1 to 1


def with_values(dataset: Dataset, values: np.ndarray) -> Dataset:
    changed = copy.deepcopy(dataset)
    changed.PixelData = values.astype("<u2").tobytes()
    return changed


def lut(first: int, values: list[int], bits: int = 16) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values) % 65536, first, bits])
    item.add_new("LUTData", "US", values)
    item.ModalityLUTType = "US"
    return Sequence([item])


def test_the_tensor_is_the_networks_size_and_fills_its_range(prepare: Prepare) -> None:
    tensor = prepare(make_cr())
    assert tensor.shape == (1, 224, 224)
    assert tensor.dtype == torch.float32
    assert (tensor.min(), tensor.max()) == (-1, 1)


def test_bone_is_bright_in_monochrome1_and_in_monochrome2(prepare: Prepare) -> None:
    plain = prepare(make_cr(photometric="MONOCHROME2"))
    inverted = prepare(make_cr(photometric="MONOCHROME1"))
    torch.testing.assert_close(inverted, plain, atol=1e-5, rtol=0)


def test_presentation_lut_shape_inverse_inverts_once(prepare: Prepare) -> None:
    plain = prepare(make_dx(photometric="MONOCHROME2"))
    both = make_dx(photometric="MONOCHROME1")
    assert both.PresentationLUTShape == "INVERSE"
    torch.testing.assert_close(prepare(both), plain, atol=1e-3, rtol=0)
    shape_alone = make_cr()
    shape_alone.PresentationLUTShape = "INVERSE"
    torch.testing.assert_close(
        prepare(shape_alone), -prepare(make_cr()), atol=GREY_LEVEL * 2, rtol=0
    )


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("shape", ["inverse", "Inverse "])
def test_the_presentation_lut_shape_is_compared_without_its_case(
    prepare: Prepare, shape: str
) -> None:
    plain, odd = make_cr(), make_cr()
    plain.PresentationLUTShape, odd.PresentationLUTShape = "INVERSE", shape
    assert torch.equal(prepare(odd), prepare(plain))


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize("spelled", ["monochrome1", "MONOCHROME 1", "Monochrome_1"])
def test_a_photometric_interpretation_may_be_spelled_in_other_ways(
    prepare: Prepare, spelled: str
) -> None:
    odd = make_cr(photometric="MONOCHROME1")
    odd.PhotometricInterpretation = spelled
    assert torch.equal(prepare(odd), prepare(make_cr(photometric="MONOCHROME1")))


def test_signed_pixels_give_the_same_tensor_as_unsigned_ones(prepare: Prepare) -> None:
    torch.testing.assert_close(prepare(make_cr(signed=True)), prepare(make_cr()))


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
def test_the_number_of_bits_changes_nothing_but_the_rounding(prepare: Prepare, bits: int) -> None:
    tensor = prepare(make_cr(bits_stored=bits))
    torch.testing.assert_close(tensor, prepare(make_cr(bits_stored=16)), atol=2 / 255, rtol=0)


@pytest.mark.parametrize("signed", [False, True])
def test_overlay_bits_above_the_stored_ones_are_ignored(prepare: Prepare, *, signed: bool) -> None:
    plain = make_cr(signed=signed)
    words = np.frombuffer(plain.PixelData, "<u2") & 0x0FFF
    drawn = words | (np.arange(words.size) % 7 == 0).astype("<u2") << 13
    torch.testing.assert_close(prepare(with_values(plain, drawn)), prepare(plain))


def test_stored_bits_may_be_at_the_top_of_the_word(prepare: Prepare) -> None:
    plain = make_cr()
    shifted = with_values(plain, np.frombuffer(plain.PixelData, "<u2") << 4)
    shifted.HighBit = 15
    torch.testing.assert_close(prepare(shifted), prepare(plain))


def test_a_modality_lut_sequence_is_equivalent_to_the_rescale_it_tabulates(
    prepare: Prepare,
) -> None:
    rescaled, tabulated = make_cr(), make_cr()
    rescaled.RescaleSlope, rescaled.RescaleIntercept, rescaled.RescaleType = 3, 10, "US"
    tabulated.ModalityLUTSequence = lut(0, [3 * value + 10 for value in range(4096)])
    for dataset in (rescaled, tabulated):
        dataset.WindowCenter, dataset.WindowWidth = 6000, 9000
    torch.testing.assert_close(prepare(tabulated), prepare(rescaled))


def test_a_lut_of_eight_bit_entries_in_bytes_is_read(prepare: Prepare) -> None:
    plain, tabulated = make_cr(bits_stored=8), make_cr(bits_stored=8)
    tabulated.ModalityLUTSequence = lut(0, [0] * 256, bits=8)
    tabulated.ModalityLUTSequence[0].add_new("LUTData", "OW", bytes(range(256)))
    torch.testing.assert_close(prepare(tabulated), prepare(plain))


def test_a_negative_rescale_slope_inverts(prepare: Prepare) -> None:
    turned = make_cr()
    turned.RescaleSlope, turned.RescaleIntercept, turned.RescaleType = -1, 4095, "US"
    torch.testing.assert_close(prepare(turned), -prepare(make_cr()), atol=GREY_LEVEL * 2, rtol=0)


def test_a_voi_lut_is_applied_and_takes_precedence_over_the_window(prepare: Prepare) -> None:
    plain, bent = make_cr(), make_cr()
    bent.VOILUTSequence = lut(0, [int((value / 4095) ** 2 * 65535) for value in range(4096)])
    bent.WindowCenter, bent.WindowWidth = 5, 10  # would clip everything
    bright = (chest(384, 320, 12) / 4095) ** 2 * 4095
    expected = prepare(with_values(plain, np.rint(bright)))
    torch.testing.assert_close(prepare(bent), expected, atol=GREY_LEVEL * 4, rtol=0)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
def test_windows_are_those_of_the_standard(function: str, *, signed: bool) -> None:
    dataset = make_cr(signed=signed)
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 2, -100, "US"
    dataset.WindowCenter, dataset.WindowWidth = (-300 if signed else 3900), 5000
    dataset.VOILUTFunction = function
    values = np.frombuffer(dataset.PixelData, "<i2" if signed else "<u2")
    dataset.BitsStored, dataset.HighBit = 12, 11
    table, _ = luminance_table(read_pixel_header(dataset), dataset, values.view("<u2"))
    expected = apply_windowing(values.astype(int) * 2 - 100, dataset)
    low, high = (-4196, 3994) if signed else (-100, 8090)  # 12 bits, rescaled
    np.testing.assert_allclose(
        table[values.view("<u2")], (expected - low) / (high - low), atol=1e-3
    )


@pytest.mark.parametrize(
    ("centre", "width"), [(0, 1), (1e9, 1), (-5000, 300), (100, 0), (100, -5), ("", "")]
)
def test_an_implausible_window_is_ignored(prepare: Prepare, centre: object, width: object) -> None:
    odd = make_cr()
    odd.WindowCenter, odd.WindowWidth = centre, width
    torch.testing.assert_close(prepare(odd), prepare(make_cr()))


def test_the_first_of_several_windows_is_used(prepare: Prepare) -> None:
    one, two = make_cr(), make_cr()
    one.WindowCenter, one.WindowWidth = 1500, 2000
    two.WindowCenter, two.WindowWidth = [1500, 3000], [2000, 500]
    torch.testing.assert_close(prepare(two), prepare(one))


@pytest.mark.parametrize("slope", [0, "", float("nan")])
def test_an_invalid_rescale_is_ignored(prepare: Prepare, slope: object) -> None:
    odd = make_cr()
    odd.RescaleIntercept = 10
    odd.add_new("RescaleSlope", "FD", slope) if slope != "" else setattr(odd, "RescaleSlope", "")
    odd["RescaleSlope"].VR = "FD" if slope != "" else "DS"
    torch.testing.assert_close(prepare(odd), prepare(make_cr()))


def test_windows_that_clip_nothing_give_the_same_tensor(prepare: Prepare) -> None:
    narrow, wide = make_cr(), make_cr()
    narrow.WindowCenter, narrow.WindowWidth = 2048, 4097
    wide.WindowCenter, wide.WindowWidth = 3000, 12000
    torch.testing.assert_close(prepare(narrow), prepare(wide), atol=1e-4, rtol=0)


def test_padding_is_black_in_monochrome1_too(prepare: Prepare) -> None:
    values = np.frombuffer(make_cr(photometric="MONOCHROME1").PixelData, "<u2")
    values = values.reshape(384, 320).clip(100, 4000).copy()
    values[:, :40] = 0
    padded = with_values(make_cr(photometric="MONOCHROME1"), values)
    assert prepare(padded)[..., :10].min() > 0.99
    padded.add_new("PixelPaddingValue", "US", 0)
    assert prepare(padded)[..., :10].max() < -0.99


@pytest.mark.parametrize("planar", [0, 1])
def test_grey_in_three_colours_gives_the_same_tensor_as_grey(prepare: Prepare, planar: int) -> None:
    colour = make_sc(photometric="RGB")
    if planar:
        pixels = np.frombuffer(colour.PixelData, "u1").reshape(384, 320, 3)
        colour.PixelData = np.moveaxis(pixels, -1, 0).tobytes()
        colour.PlanarConfiguration = 1
    torch.testing.assert_close(prepare(colour), prepare(make_sc()), atol=1e-5, rtol=0)


def test_ybr_is_reduced_to_its_luma(prepare: Prepare) -> None:
    colour = make_sc(photometric="RGB")
    pixels = np.frombuffer(colour.PixelData, "u1").reshape(384, 320, 3).copy()
    pixels[..., 1:] = 128
    colour.PixelData = pixels.tobytes()
    colour.PhotometricInterpretation = "YBR_FULL"
    torch.testing.assert_close(prepare(colour), prepare(make_sc()), atol=1e-5, rtol=0)


def test_a_palette_is_applied(prepare: Prepare) -> None:
    palette = make_sc()
    palette.PhotometricInterpretation = "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        entries = (255 - np.arange(256)).astype("<u2") * 257
        setattr(palette, f"{colour}PaletteColorLookupTableData", entries.tobytes())
    torch.testing.assert_close(prepare(palette), -prepare(make_sc()), atol=2 / 255, rtol=0)


def test_resizing_uses_every_pixel(prepare: Prepare) -> None:
    """A fine checkerboard is its mean; point sampling would show squares."""
    plain = make_cr(rows=1920, columns=1920, bits_stored=12)
    plain.WindowCenter, plain.WindowWidth = 2048, 4096  # the same levels with noise and without
    values = np.frombuffer(plain.PixelData, "<u2").reshape(1920, 1920).astype(int)
    noise = np.where(np.indices(values.shape).sum(0) % 2, 300, -300)
    inside = values.clip(300, 3795)
    rough = prepare(with_values(plain, inside + noise))
    torch.testing.assert_close(rough, prepare(with_values(plain, inside)), atol=0.02, rtol=0)
