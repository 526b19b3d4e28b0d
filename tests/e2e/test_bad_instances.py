"""Irregular and damaged instances: each ends in a state with a reason."""

from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless
from support.lobar_process import LobarService
from synthetic.codecs import encode
from synthetic.objects import make_cr, make_dx, make_sc

from service.domain.job import JobState
from service.domain.reasons import Reason

pytestmark = [pytest.mark.orthanc, pytest.mark.dcmtk]


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


BAD = {
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


def test_each_is_not_analysed_with_its_reason_and_the_good_ones_beside_it_are_reported(
    lobar: LobarService, store: Callable[..., None]
) -> None:
    instances = {name: make() for name, (make, _) in BAD.items()}
    good = [make_cr() for _ in range(3)]
    store(*instances.values(), *good)
    for name, (_, reasons) in BAD.items():
        job = lobar.settled(instances[name].SOPInstanceUID)
        assert job.state == JobState.NOT_ANALYSED, (name, job)
        assert job.reason in reasons, name
    for instance in good:
        assert lobar.settled(instance.SOPInstanceUID).state == JobState.DELIVERED


@pytest.mark.filterwarnings("ignore")  # pydicom warns while these are made, as it should
@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 144", "Люксембург"),
        ("ISO_IR 999", "Broken^Character^Set"),
        ("ISO_IR 192", "A" * 200),
    ],
)
def test_a_name_in_any_character_set_is_carried_over(
    lobar: LobarService,
    store: Callable[..., None],
    charset: str | list[str],
    name: str,
) -> None:
    known = charset != "ISO_IR 999"
    instance = make_cr(charset=charset if known else "ISO_IR 6", patient_name=name)
    if not known:
        instance.add_new(0x00080005, "CS", charset)
    store(instance)
    assert lobar.settled(instance.SOPInstanceUID).state == JobState.DELIVERED
