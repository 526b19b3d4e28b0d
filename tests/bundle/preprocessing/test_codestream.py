"""What a codestream states is held against the data set's header, for every kind of codestream."""

import time
from collections.abc import Callable
from functools import cache
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import torch
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from scripts.preprocessing.load import read_radiograph
from support.refusal_code import code_of
from synthetic.objects import make_cr
from synthetic.pictures import chest

Prepare = Callable[[bytes | Dataset], torch.Tensor]
Coder = Callable[[np.ndarray, int], bytes]
SEQUENCE_END = b"\xfe\xff\xdd\xe0" + bytes(4)


def jpeg_2000(values: np.ndarray, bits: int) -> bytes:
    return bytes(encode_array(values, bits_stored=bits))


def jpeg_ls(values: np.ndarray, bits: int) -> bytes:
    del bits  # the fewest that hold the values
    return bytes(imagecodecs.jpegls_encode(values))


def jpeg_lossless(values: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=bits))


def given(frame: bytes, uid: UID, **changes: object) -> Dataset:
    """An instance of the default picture's header around another codestream."""
    dataset = make_cr()
    dataset.file_meta.TransferSyntaxUID = uid
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


@cache
def picture(bits: int = 12) -> np.ndarray:
    return chest(384, 320, bits).astype("<u2" if bits > 8 else "u1")


LOSSLESS = pytest.mark.parametrize(
    ("coder", "uid"),
    [
        (jpeg_2000, JPEG2000Lossless),
        (jpeg_ls, JPEGLSLossless),
        (jpeg_lossless, JPEGLosslessSV1),
    ],
    ids=["JPEG 2000", "JPEG-LS", "JPEG lossless"],
)


@LOSSLESS
@pytest.mark.parametrize("stored", [10, 11, 13, 16])
def test_the_codestreams_precision_counts(
    prepare: Prepare, coder: Coder, uid: UID, stored: int
) -> None:
    odd = given(coder(picture(), 12), uid, BitsStored=stored, HighBit=stored - 1)
    torch.testing.assert_close(prepare(odd), prepare(make_cr()))


@LOSSLESS
def test_more_bits_than_are_allocated_are_read(prepare: Prepare, coder: Coder, uid: UID) -> None:
    odd = given(coder(picture(), 12), uid, BitsAllocated=8, BitsStored=8, HighBit=7)
    torch.testing.assert_close(prepare(odd), prepare(make_cr()))


@LOSSLESS
def test_whole_words_with_fewer_stored_bits_are_read(
    prepare: Prepare, coder: Coder, uid: UID
) -> None:
    torch.testing.assert_close(
        prepare(given(coder(picture(), 16), uid)), prepare(make_cr()), atol=1e-6, rtol=0
    )


@LOSSLESS
def test_overlay_bits_in_whole_words_are_ignored(prepare: Prepare, coder: Coder, uid: UID) -> None:
    drawn = picture() | ((np.arange(384 * 320).reshape(384, 320) % 7 == 0).astype("<u2") << 13)
    torch.testing.assert_close(prepare(given(coder(drawn, 16), uid)), prepare(make_cr()))


@pytest.mark.parametrize("represented", [0, 1])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("offset", [0, 300])
def test_the_sign_that_jpeg_2000_states_counts(
    prepare: Prepare, represented: int, *, signed: bool, offset: int
) -> None:
    values = picture().astype("<i2") - offset if signed else picture()
    bits = 13 if signed else 12
    odd = given(
        jpeg_2000(values, bits),
        JPEG2000Lossless,
        PixelRepresentation=represented,
        BitsStored=bits,
        HighBit=bits - 1,
    )
    torch.testing.assert_close(prepare(odd), prepare(make_cr()))


def test_a_sign_that_an_encoder_lost_is_restored(prepare: Prepare) -> None:
    words = (picture().astype("<i2") - 2048).view("<u2") & 0x0FFF
    odd = given(jpeg_2000(words, 12), JPEG2000Lossless, PixelRepresentation=1)
    torch.testing.assert_close(prepare(odd), prepare(make_cr()))


@pytest.mark.parametrize(
    ("frame", "uid"),
    [
        (jpeg_2000(np.dstack([picture(8)] * 3), 8), JPEG2000Lossless),
        (jpeg_ls(np.dstack([picture(8)] * 3), 8), JPEGLSLossless),
        (bytes(imagecodecs.jpeg8_encode(np.dstack([picture(8)] * 3))), JPEGBaseline8Bit),
        (jpeg_2000(picture(8)[:, :-1].copy(), 8), JPEG2000Lossless),
        (jpeg_ls(picture(8)[:-1], 8), JPEGLSLossless),
    ],
    ids=["JPEG 2000", "JPEG-LS", "JPEG", "JPEG 2000 of another size", "JPEG-LS of another size"],
)
def test_a_contradiction_without_a_right_reading_is_refused_by_name(
    prepare: Prepare, frame: bytes, uid: UID
) -> None:
    odd = given(frame, uid, BitsAllocated=8, BitsStored=8, HighBit=7)
    assert code_of(prepare, odd) == "codestream-contradicts-header"


@pytest.mark.parametrize("uid", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGExtended12Bit])
def test_the_codestream_says_which_kind_of_jpeg_it_is(prepare: Prepare, uid: UID) -> None:
    lossless = given(jpeg_lossless(picture(), 12), uid)
    torch.testing.assert_close(prepare(lossless), prepare(make_cr()))
    lossy = given(bytes(imagecodecs.jpeg8_encode(picture(), level=95, bitspersample=12)), uid)
    assert (prepare(lossy) - prepare(make_cr())).abs().mean() < 0.03


def test_jpeg_ls_that_allows_errors_is_read(prepare: Prepare) -> None:
    near = given(bytes(imagecodecs.jpegls_encode(picture(), level=2)), JPEGLSNearLossless)
    assert (prepare(near) - prepare(make_cr())).abs().mean() < 0.03


@LOSSLESS
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_codestream_is_refused(prepare: Prepare, coder: Coder, uid: UID, kept: float) -> None:
    frame = coder(picture(), 12)
    cut = given(frame[: int(len(frame) * kept)], uid)
    assert code_of(prepare, cut) == "pixels-unreadable"


def jpeg_baseline(values: np.ndarray, bits: int) -> bytes:
    del bits
    return bytes(imagecodecs.jpeg8_encode((values >> 4).astype("u1")))


def jpeg_extended(values: np.ndarray, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(values, bitspersample=bits))


def jpeg_progressive(values: np.ndarray, bits: int) -> bytes:
    del bits
    file = BytesIO()
    Image.fromarray((values >> 4).astype("u1")).save(file, format="JPEG", progressive=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("coder", "bits"),
    [(jpeg_baseline, 8), (jpeg_progressive, 8), (jpeg_extended, 12), (jpeg_lossless, 12)],
)
@pytest.mark.parametrize("black", [0, 160], ids=["", "black below"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.97, 1])
def test_a_jpeg_cut_before_an_end_marker_is_refused(
    prepare: Prepare, coder: Coder, bits: int, black: int, kept: float
) -> None:
    values = picture().copy()
    values[len(values) - black :] = 0
    whole = coder(values, 12)
    scan = whole.rindex(b"\xff\xda")
    cut = whole[: scan + int((len(whole) - scan) * kept)].removesuffix(b"\xff\xd9").rstrip(b"\xff")
    odd = given(cut + b"\xff\xd9", JPEGExtended12Bit, BitsStored=bits, HighBit=bits - 1)
    assert code_of(prepare, odd) == (None if kept == 1 else "pixels-unreadable")


def test_jpeg_2000_without_its_end_marker_is_read_where_nothing_else_is_missing(
    prepare: Prepare,
) -> None:
    whole = jpeg_2000(picture(), 12)
    assert whole.endswith(b"\xff\xd9")
    for frame in (whole[:-2], whole + bytes(range(1, 65))):
        assert torch.equal(prepare(given(frame, JPEG2000Lossless)), prepare(make_cr()))


@pytest.mark.parametrize("scans", [65, 30_000])
def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(prepare: Prepare, scans: int) -> None:
    frame = bytes(imagecodecs.jpeg8_encode(picture(8)))
    scan = frame[frame.index(b"\xff\xda") : -2]
    start = time.monotonic()
    odd = given(
        frame[: frame.index(b"\xff\xda")] + scan[:40] * scans + frame[-2:], JPEGBaseline8Bit
    )
    assert code_of(prepare, odd) == "size-out-of-range"
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("table", [b"", b"\x08\0\0\0", b"\xff\xff\xff\xff", bytes(6), bytes(12)])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("behind", [b"", bytes(8), SEQUENCE_END, SEQUENCE_END + bytes(64)])
def test_a_single_frame_needs_no_offset_table_and_no_delimiter(
    as_file: Callable[[Dataset], bytes], table: bytes, pieces: int, behind: bytes
) -> None:
    frame = jpeg_2000(picture(), 12)
    frame += bytes(len(frame) % 2)
    size = -(-len(frame) // pieces) // 2 * 2 + 2
    parts = [table, *(frame[at : at + size] for at in range(0, len(frame), size))]
    plain = given(frame, JPEG2000Lossless)
    content = as_file(plain)
    before = content[: content.index(b"\xe0\x7f\x10\x00OB") + 12]
    items = b"".join(b"\xfe\xff\x00\xe0" + len(part).to_bytes(4, "little") + part for part in parts)
    np.testing.assert_array_equal(
        read_radiograph(before + items + behind), read_radiograph(content)
    )


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("fill", [b"", b"\xff", b"\xff\xff\xff"])
def test_a_jpeg_with_fill_bytes_before_its_end_marker_is_whole(
    prepare: Prepare, predictor: int, fill: bytes
) -> None:
    whole = bytes(
        imagecodecs.jpeg8_encode(picture(), lossless=True, bitspersample=12, predictor=predictor)
    )
    frame = whole.removesuffix(b"\xff\xd9").rstrip(b"\xff") + fill + b"\xff\xd9"
    assert torch.equal(prepare(given(frame, JPEGLosslessSV1)), prepare(make_cr()))


@LOSSLESS
def test_what_follows_an_end_marker_is_not_read(prepare: Prepare, coder: Coder, uid: UID) -> None:
    behind = b"\xff\xda\0\x08\1\1\0\0\0\0" + coder(picture(), 12)
    odd = given(coder(picture(), 12) + behind, uid)
    assert torch.equal(prepare(odd), prepare(make_cr()))


@pytest.mark.parametrize(
    "comment",
    [bytes(5000), b"\xff\x90\0\x0a" + bytes(4) + b"\x7f\0\0\1", b"\xff\x52\0\x0c" * 99],
    ids=["long", "a tile-part", "coding styles"],
)
def test_a_comment_in_jpeg_2000_may_hold_anything(prepare: Prepare, comment: bytes) -> None:
    whole = jpeg_2000(picture(), 12)
    at = whole.index(b"\xff\x52")
    segment = b"\xff\x64" + (len(comment) + 4).to_bytes(2) + bytes(2) + comment
    odd = given(whole[:at] + segment + whole[at:], JPEG2000Lossless)
    assert torch.equal(prepare(odd), prepare(make_cr()))


@LOSSLESS
@pytest.mark.parametrize("pieces", [1, 2])
def test_an_offset_table_may_be_left_out(
    prepare: Prepare, coder: Coder, uid: UID, pieces: int
) -> None:
    odd = given(coder(picture(), 12), uid)
    items = encapsulate([coder(picture(), 12)], fragments_per_frame=pieces, has_bot=False)
    odd.PixelData = items[8:]  # without the empty table
    assert torch.equal(prepare(odd), prepare(make_cr()))


STATED = [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless]


@pytest.mark.parametrize("stated", STATED, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("in_item", [False, True])
def test_native_pixels_are_known_by_their_number_whatever_the_syntax(
    as_file: Callable[[Dataset], bytes], prepare: Prepare, stated: UID, *, in_item: bool
) -> None:
    pixels = make_cr().PixelData
    value = encapsulate([pixels], has_bot=False) + SEQUENCE_END if in_item else pixels
    content = as_file(make_cr())
    at = content.index(b"\xe0\x7f\x10\x00OW")
    length = b"\xff\xff\xff\xff" if in_item else len(pixels).to_bytes(4, "little")
    syntax = given(b"none", stated)
    header = as_file(syntax)
    header = header[: header.index(b"\xe0\x7f\x10\x00OB")]
    odd = header + content[at : at + 8] + length + value
    assert torch.equal(prepare(odd), prepare(make_cr()))


@LOSSLESS
@pytest.mark.parametrize("stated", STATED, ids=lambda uid: uid.keyword)
def test_a_codestream_is_known_whatever_the_syntax(
    prepare: Prepare, coder: Coder, uid: UID, stated: UID
) -> None:
    del uid
    assert torch.equal(prepare(given(coder(picture(), 12), stated)), prepare(make_cr()))


@pytest.mark.parametrize("change", [{"BitsAllocated": 12}, {"BitsAllocated": 8, "BitsStored": 16}])
def test_the_bits_allocated_are_those_of_the_decoded_words(
    prepare: Prepare, change: dict[str, int]
) -> None:
    odd = given(jpeg_2000(picture(), 12), JPEG2000Lossless, **change)
    assert torch.equal(prepare(odd), prepare(make_cr()))
