"""Invalid input is refused with a code, without another exception or a large allocation."""

import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from scripts.preprocessing.codestream import check_codestream, read_codestream
from scripts.preprocessing.pixel_header import read_pixel_header
from scripts.refusal import RadiographRefusedError, RefusalCode
from support.refusal_code import code_of
from synthetic.objects import encode, make_cr, make_sc

from service.domain.reasons import Reason

Prepare = Callable[[bytes | Dataset], torch.Tensor]
AsFile = Callable[[Dataset], bytes]


def changed(**values: object) -> Dataset:
    dataset = make_cr()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def without(*keywords: str) -> Dataset:
    dataset = make_cr()
    for keyword in keywords:
        delattr(dataset, keyword)
    return dataset


@pytest.mark.parametrize(
    ("dataset", "code"),
    [
        (without("PixelData"), "no-pixels"),
        (changed(PixelData=b""), "no-pixels"),
        (changed(NumberOfFrames=2), "multi-frame"),
        (changed(BitsAllocated=32), "pixel-format-unsupported"),
        (changed(BitsAllocated=1, BitsStored=1, HighBit=0), "pixel-format-unsupported"),
        (changed(BitsStored=17), "pixel-format-unsupported"),
        (changed(SamplesPerPixel=3), "pixel-format-unsupported"),
        (changed(SamplesPerPixel=4), "pixel-format-unsupported"),
        (changed(PhotometricInterpretation="CMYK"), "pixel-format-unsupported"),
        (without("PhotometricInterpretation"), "pixel-format-unsupported"),
        (changed(Rows=0), "size-out-of-range"),
        (changed(Columns=63), "size-out-of-range"),
        (changed(Rows=16385), "size-out-of-range"),
        (changed(Rows=16000, Columns=16000), "size-out-of-range"),
        (changed(Rows=50000, Columns=50000, PixelData=b"0123456789"), "size-out-of-range"),
        (without("Rows"), "size-out-of-range"),
        (changed(Rows=9000, Columns=9000, PixelData=b"0123456789"), "pixels-unreadable"),
        (changed(PixelData=make_cr().PixelData[:-100]), "pixels-unreadable"),
        (changed(PixelData=bytes(384 * 320 * 2)), "blank-image"),
        (changed(PixelData=b"\xff\x0f" * (384 * 320)), "blank-image"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_an_invalid_header_is_refused_with_its_code(
    prepare: Prepare, dataset: Dataset, code: str
) -> None:
    assert code_of(prepare, dataset) == code


def test_floating_point_pixels_are_not_supported(prepare: Prepare) -> None:
    dataset = without("PixelData")
    dataset.FloatPixelData = bytes(384 * 320 * 4)
    assert code_of(prepare, dataset) == "pixel-format-unsupported"


def test_video_is_not_supported(prepare: Prepare) -> None:
    dataset = changed(PixelData=encapsulate([bytes(100)]))
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = MPEG4HP41
    assert code_of(prepare, dataset) == "pixel-format-unsupported"


@pytest.mark.parametrize(
    "given", [b"", b"x", b"Dear sir or madam" * 20, b"%PDF-1.7" + bytes(400), b"\x89PNG" * 50]
)
def test_a_file_that_is_not_an_image_is_not_supported(prepare: Prepare, given: bytes) -> None:
    assert code_of(prepare, given) == "pixel-format-unsupported"


@pytest.mark.parametrize("header", ["charset", "uid", "date", "number"])
def test_invalid_elements_elsewhere_in_the_header_are_ignored(
    prepare: Prepare, header: str, as_file: AsFile
) -> None:
    dataset = make_cr()
    content = as_file(dataset)
    spoiled = {
        "charset": (b"ISO_IR 192", b"ISO_IR 9x9"),
        "uid": (bytes(dataset.StudyInstanceUID[-8:], "ascii"), b"x..9 abc"),
        "date": (b"20220615", b"yesterda"),
        "number": (b"TEST-ACC-1", b"\xff\xfe\x00\x80\x81TESTX"[:10]),
    }[header]
    assert spoiled[0] in content
    assert code_of(prepare, content.replace(*spoiled)) is None


@pytest.mark.parametrize("uid", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_data_set_without_preamble_and_meta_information_is_read(
    prepare: Prepare, as_file: AsFile, uid: UID
) -> None:
    dataset = encode(make_cr(), uid)
    content = as_file(dataset)
    start = 144 + struct.unpack("<I", content[140:144])[0]
    assert code_of(prepare, content[start:]) is None


SYNTAXES = [JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, RLELossless, JPEGBaseline8Bit]


@pytest.mark.parametrize("uid", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_truncated_codestream_is_unreadable(prepare: Prepare, uid: UID, kept: float) -> None:
    dataset = encode(make_sc(), uid)
    frame = encode_frame(dataset)
    dataset.PixelData = encapsulate([frame[: int(len(frame) * kept) & ~1]])
    dataset["PixelData"].VR = "OB"
    assert code_of(prepare, dataset) == "pixels-unreadable"


@pytest.mark.parametrize("uid", SYNTAXES[:3], ids=lambda uid: uid.keyword)
def test_a_codestream_of_another_size_is_never_decoded(prepare: Prepare, uid: UID) -> None:
    dataset = encode(make_sc(rows=128, columns=128), uid)
    dataset.Rows, dataset.Columns = 64, 256
    assert code_of(prepare, dataset) == "codestream-contradicts-header"


def test_a_codestream_that_asks_for_more_than_the_header_is_never_decoded() -> None:
    dataset = encode(make_cr(), JPEG2000Lossless)
    frame = bytearray(encode_frame(dataset))
    at = frame.index(b"\xff\x51") + 6  # Xsiz and Ysiz follow Lsiz and Rsiz
    frame[at : at + 8] = struct.pack(">II", 60000, 60000)
    codestream = read_codestream(bytes(frame))
    with pytest.raises(RadiographRefusedError, match="60000x60000"):
        check_codestream(codestream, read_pixel_header(dataset), bytes(frame))


def of_fixed_name(dataset: Dataset) -> Dataset:
    """Fix the UIDs, so that the damage is the same each time."""
    for number, level in enumerate(("SOP", "Series", "Study"), 1):
        setattr(dataset, f"{level}InstanceUID", f"1.2.826.0.1.3680043.8.498.{number}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


@pytest.mark.parametrize("uid", [*SYNTAXES, ExplicitVRLittleEndian], ids=lambda uid: uid.keyword)
def test_damaged_bytes_are_decoded_or_refused_without_another_exception(
    prepare: Prepare, uid: UID, as_file: AsFile
) -> None:
    chance = random.Random(11)
    content = as_file(encode(of_fixed_name(make_sc(rows=96, columns=80)), uid))
    for _ in range(40):
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 3, 30])):
            damaged[chance.randrange(132, len(damaged))] = chance.randrange(256)
        code_of(prepare, bytes(damaged[: chance.choice([len(damaged), 700, 2000])]))


def test_a_deflated_data_set_that_inflates_without_end_is_refused(
    prepare: Prepare, as_file: AsFile
) -> None:
    content = as_file(encode(make_cr(), DeflatedExplicitVRLittleEndian))
    start = 144 + struct.unpack("<I", content[140:144])[0]
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(deflater.compress(bytes(1 << 24)) for _ in range(21)) + deflater.flush()
    assert len(bomb) < 1 << 20
    assert code_of(prepare, content[:start] + bomb) == "size-out-of-range"


def encode_frame(dataset: Dataset) -> bytes:
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def test_an_image_with_one_bright_pixel_is_blank(prepare: Prepare) -> None:
    values = np.zeros(384 * 320, "<u2")
    values[1000] = 4095
    assert code_of(prepare, changed(PixelData=values.tobytes())) == "blank-image"


def test_every_code_is_a_reason_of_the_service() -> None:
    assert {Reason(code) for code in RefusalCode} == {
        Reason.NO_PIXELS,
        Reason.MULTI_FRAME,
        Reason.SIZE,
        Reason.PIXEL_FORMAT,
        Reason.PIXELS_UNREADABLE,
        Reason.CODESTREAM,
        Reason.BLANK,
        Reason.SATURATED,
        Reason.NOT_CHEST,
        Reason.LATERAL,
        Reason.TURNED,
        Reason.INVERTED,
        Reason.CUT_OFF,
        Reason.UNFAMILIAR,
    }
