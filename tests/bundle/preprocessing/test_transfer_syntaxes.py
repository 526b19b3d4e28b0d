from collections.abc import Callable

import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGLSNearLossless
from synthetic.codecs import ENCODERS, LOSSY_METHODS, NATIVE
from synthetic.objects import encode, make_cr, make_sc

Prepare = Callable[[bytes | Dataset], torch.Tensor]

COMPRESSED = [UID(uid) for uid in ENCODERS]
LOSSLESS = [uid for uid in COMPRESSED if uid not in LOSSY_METHODS]
LOSSY = [uid for uid in COMPRESSED if uid in LOSSY_METHODS]
TOLERANCE = 0.03  # mean over a tensor that spans -1 to 1


def named(uid: UID) -> str:
    return uid.keyword


@pytest.mark.parametrize("uid", [*NATIVE, *LOSSLESS], ids=named)
def test_a_lossless_syntax_gives_the_same_tensor(prepare: Prepare, uid: UID) -> None:
    plain = make_cr()
    assert torch.equal(prepare(encode(plain, uid)), prepare(plain))


@pytest.mark.parametrize("uid", LOSSY, ids=named)
def test_a_lossy_syntax_gives_nearly_the_same_tensor(prepare: Prepare, uid: UID) -> None:
    plain = make_cr(bits_stored=8 if uid == JPEGBaseline8Bit else 12)
    difference = (prepare(encode(plain, uid)) - prepare(plain)).abs()
    assert difference.mean() < TOLERANCE


@pytest.mark.parametrize("uid", LOSSLESS, ids=named)
def test_lossless_compression_preserves_signed_pixels(prepare: Prepare, uid: UID) -> None:
    plain = make_cr(signed=True)
    try:
        encoded = encode(plain, uid)
    except ValueError as error:
        pytest.skip(f"cannot be encoded here: {error}")
    torch.testing.assert_close(prepare(encoded), prepare(plain))


@pytest.mark.parametrize(
    "uid", [uid for uid in COMPRESSED if uid.keyword.startswith("JPEG")], ids=named
)
def test_compressed_colour_is_converted_to_grey(prepare: Prepare, uid: UID) -> None:
    plain = make_sc(photometric="RGB")
    difference = (prepare(encode(plain, uid)) - prepare(plain)).abs()
    assert difference.mean() < (TOLERANCE if uid in LOSSY else 1e-6)
    assert uid == JPEGLSNearLossless or difference.max() < 0.3


def test_big_endian_words_are_swapped(prepare: Prepare) -> None:
    plain = make_cr()
    turned = make_cr()
    turned.PixelData = b"".join(
        plain.PixelData[at + 1 : at + 2] + plain.PixelData[at : at + 1]
        for at in range(0, len(plain.PixelData), 2)
    )
    turned.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert torch.equal(prepare(turned), prepare(plain))
