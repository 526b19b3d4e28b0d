"""Irregular and damaged instances, each with the reasons for which it is not analysed."""

from collections.abc import Callable
from typing import Final

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from service.domain.reasons import Reason
from synthetic.codecs import encode
from synthetic.objects import make_cr, make_dx, make_sc


def with_(dataset: Dataset, **elements: object) -> Dataset:
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def corrupt_jpeg_2000() -> Dataset:
    dataset = encode(make_cr(), JPEG2000Lossless)
    whole = dataset.PixelData
    dataset.PixelData = encapsulate([whole[16:200] + bytes(1000)])
    dataset["PixelData"].VR = "OB"
    return dataset


def without_pixels() -> Dataset:
    dataset = make_cr()
    del dataset.PixelData
    return dataset


def one_bit() -> Dataset:
    pixels = bytes(320 * 384 // 8)
    return with_(make_sc(), BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=pixels)


def thirty_two_bits() -> Dataset:
    pixels = bytes(4 * 320 * 384)
    dataset = with_(make_cr(), BitsAllocated=32, BitsStored=32, HighBit=31, PixelData=pixels)
    dataset["PixelData"].VR = "OW"
    return dataset


BAD: Final[dict[str, tuple[Callable[[], Dataset], set[Reason]]]] = {
    "a lateral view": (lambda: with_(make_dx(), ViewPosition="LL"), {Reason.VIEW}),
    "a hand": (lambda: with_(make_cr(), BodyPartExamined="HAND"), {Reason.BODY_PART}),
    "a mammogram": (lambda: with_(make_dx(), Modality="MG"), {Reason.MODALITY}),
    "no pixels": (without_pixels, {Reason.NO_PIXELS}),
    "zero rows": (lambda: with_(make_cr(), Rows=0), {Reason.SIZE}),
    "one bit": (one_bit, {Reason.PIXEL_FORMAT}),
    "thirty-two bits": (thirty_two_bits, {Reason.PIXEL_FORMAT}),
    "a header of 50,000 by 50,000": (
        lambda: with_(make_cr(), Rows=50_000, Columns=50_000, PixelData=bytes(10)),
        {Reason.SIZE, Reason.PIXELS_UNREADABLE},
    ),
    "too few pixels": (
        lambda: with_(make_cr(), PixelData=bytes(1000)),
        {Reason.PIXELS_UNREADABLE, Reason.SIZE},
    ),
    "a corrupt JPEG 2000": (corrupt_jpeg_2000, {Reason.PIXELS_UNREADABLE}),
    "a blank image": (lambda: with_(make_cr(), PixelData=bytes(2 * 384 * 320)), {Reason.BLANK}),
}
