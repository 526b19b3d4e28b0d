"""Loading of an instance: its header and pixels, or the reason for which it is not analysed."""

import errno
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian
from support.inference_worker import StandInPredictor
from synthetic.objects import encode, make_cr

from service.domain.reasons import Reason
from workers.inference.header import UnreadableFileError, parse_header
from workers.inference.loading import LoadedInstance, read, read_header
from workers.prediction import NotAnalysable

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor


def saved(dataset: Dataset, folder: Path) -> Path:
    path = folder / "instance.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def load(predictor: StandInPredictor, path: Path) -> LoadedInstance:
    return read(cast("Predictor", predictor), path)


def reason(predictor: StandInPredictor, path: Path) -> Reason:
    with pytest.raises(NotAnalysable) as raised:
        load(predictor, path)
    return raised.value.reason


def test_a_reading_holds_the_header_undecoded_and_the_pixels(tmp_path: Path) -> None:
    path = saved(make_cr(charset="ISO_IR 100", patient_name="Müller"), tmp_path)
    reading = load(StandInPredictor(), path)
    assert reading.header.get_item("PatientName").value == "Müller".encode("latin-1")
    assert "PixelData" not in reading.header
    assert reading.prepared.tensor.shape == (1, 48, 40)


def test_a_picture_is_read_only_when_it_is_asked_for_and_then_once(tmp_path: Path) -> None:
    predictor = StandInPredictor()
    shown = load(predictor, saved(make_cr(), tmp_path)).shown
    assert predictor.pictures == []
    assert shown.picture.shape == (384, 320)
    assert shown.picture is shown.picture
    assert len(predictor.pictures) == 1


def bare(dataset: Dataset, folder: Path, *, implicit_vr: bool = False) -> Path:
    """Save a data set without a preamble and without file meta information."""
    del dataset.file_meta
    path = folder / "bare"
    dataset.save_as(path, implicit_vr=implicit_vr, little_endian=True)
    assert path.stat().st_size > 16 << 20
    return path


@pytest.mark.parametrize("implicit_vr", [False, True])
def test_of_a_large_data_set_without_a_preamble_the_header_is_read(
    tmp_path: Path, *, implicit_vr: bool
) -> None:
    dataset = make_cr(rows=3000, columns=3000)
    header = read_header(bare(dataset, tmp_path, implicit_vr=implicit_vr))
    assert header.SOPInstanceUID == dataset.SOPInstanceUID
    assert "PixelData" not in header


def test_without_a_preamble_too_a_header_may_be_too_large(tmp_path: Path) -> None:
    dataset = make_cr(rows=64)
    dataset.add_new(0x00091001, "OB", bytes(17 << 20))
    with pytest.raises(NotAnalysable) as raised:
        read_header(bare(dataset, tmp_path))
    assert raised.value.reason is Reason.SIZE


def test_pictures_of_two_instances_are_read_at_the_same_time(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=60)  # an error if only one at a time gets there
    predictor = StandInPredictor(on_picture=lambda _: cast("None", both.wait()))
    path = saved(make_cr(), tmp_path)
    shown = [load(predictor, path).shown for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        pictures = list(threads.map(lambda each: each.picture, shown))
    assert [each.shape for each in pictures] == [(384, 320)] * 2


class Both(StandInPredictor):
    """The stand-in, which reads input and picture at once as our bundle does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Path] = []

    def read_with_picture(self, path: Path) -> Any:  # noqa: ANN401 -- the stand-in's own
        self.asked.append(path)
        return replace(self.read(path), picture=np.ones((3, 2), np.float32))


def test_a_picture_that_was_read_with_the_input_is_not_read_again(tmp_path: Path) -> None:
    predictor = Both()
    path = saved(make_cr(charset="ISO_IR 100", patient_name="Müller"), tmp_path)
    loaded = read(cast("Predictor", predictor), path, with_picture=True)
    with ThreadPoolExecutor(1) as threads:
        loaded.shown.begin(threads)
    assert loaded.shown.picture.shape == (3, 2)
    assert predictor.pictures == []
    assert loaded.header.get_item("PatientName").value == "Müller".encode("latin-1")


@pytest.mark.parametrize(("side", "is_asked"), [(4000, True), (4001, False)])
def test_of_a_large_radiograph_input_and_picture_are_not_in_memory_together(
    tmp_path: Path, side: int, *, is_asked: bool
) -> None:
    dataset = make_cr(rows=64)
    dataset.Rows = dataset.Columns = side
    del dataset.PixelData  # the stand-in then refuses it
    predictor = Both()
    with pytest.raises(NotAnalysable):
        read(cast("Predictor", predictor), saved(dataset, tmp_path), with_picture=True)
    assert bool(predictor.asked) == is_asked


def test_an_instance_that_is_not_for_the_model_is_not_decoded(tmp_path: Path) -> None:
    def must_not_be_asked(_: Dataset) -> None:
        pytest.fail("its pixels were read")

    dataset = make_cr()
    dataset.Modality = "CT"
    predictor = StandInPredictor(on_read=must_not_be_asked)
    assert reason(predictor, saved(dataset, tmp_path)) is Reason.MODALITY


@pytest.mark.parametrize(
    "charset", [b"ISO_IR 100\0ISO ", b"ISO_IR \x00100", b"\\ISO\x002022", b"\0\\ISO 2022 IR 87 "]
)
def test_a_character_set_that_pydicom_stumbles_over_makes_it_undecodable(
    tmp_path: Path, charset: bytes
) -> None:
    path = saved(make_cr(charset="ISO_IR 100"), tmp_path)
    content = path.read_bytes()
    head, value = b"\x08\x00\x05\x00CS", b"\x0a\x00ISO_IR 100"
    assert content.count(head + value) == 1
    damaged = head + len(charset).to_bytes(2, "little") + charset
    path.write_bytes(content.replace(head + value, damaged))
    with pytest.raises(ValueError, match="null character"):
        dcmread(path, stop_before_pixels=True)  # else this test checks nothing
    assert reason(StandInPredictor(), path) is Reason.UNDECODABLE


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("cut", [133, 200, 400, 700, 1000])
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_bytes_that_end_too_early_get_a_reason(
    tmp_path: Path, cut: int, syntax: UID | None
) -> None:
    dataset = make_cr()
    if syntax:
        dataset.file_meta.TransferSyntaxUID = syntax
    path = saved(dataset, tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    assert reason(StandInPredictor(), path) in {Reason.UNDECODABLE, Reason.NO_PIXELS}


def test_missing_bytes_are_an_error_and_no_reason(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(StandInPredictor(), tmp_path / "gone.dcm")
    with pytest.raises(IsADirectoryError):
        load(StandInPredictor(), tmp_path)


def test_an_element_of_an_unknown_vr_is_read_as_its_tag_says(tmp_path: Path) -> None:
    dataset = make_cr()
    dataset.AccessionNumber = ""
    dataset.StudyDescription = "Chest"
    path = saved(dataset, tmp_path)
    content = path.read_bytes()
    for head in (b"\x08\x00\x50\x00", b"\x08\x00\x30\x10"):
        assert content.count(head) == 1
        place = content.index(head) + 4
        content = content[:place] + b"CH" + content[place + 2 :]
    path.write_bytes(content)
    header = load(StandInPredictor(), path).header
    assert header.StudyDescription == "Chest"
    assert header.AccessionNumber == ""


@pytest.mark.parametrize("syntax", [None, DeflatedExplicitVRLittleEndian])
def test_a_large_value_is_passed_over_and_what_follows_it_read(
    tmp_path: Path, syntax: UID | None
) -> None:
    dataset = make_cr()
    dataset.private_block(0x0009, "TEST", create=True).add_new(1, "OB", bytes(2 << 20))
    if syntax:
        dataset = encode(dataset, syntax)
    header = load(StandInPredictor(), saved(dataset, tmp_path)).header
    assert (0x0009, 0x1001) not in header
    assert header.StudyInstanceUID == dataset.StudyInstanceUID


@pytest.mark.parametrize("syntax", [None, DeflatedExplicitVRLittleEndian])
def test_a_header_without_end_is_out_of_range(tmp_path: Path, syntax: UID | None) -> None:
    dataset = make_cr()
    block = dataset.private_block(0x0009, "TEST", create=True)
    for number in range(40):
        block.add_new(number, "OB", bytes(1 << 19))
    if syntax:
        dataset = encode(dataset, syntax)
    assert reason(StandInPredictor(), saved(dataset, tmp_path)) is Reason.SIZE


class DamagedDisk(io.BytesIO):
    """A double of a file on a disk that fails from a position on."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > 500:
            raise OSError(errno.EIO, "broken")
        return super().read(size)


def test_a_fault_of_the_disk_is_told_from_one_of_the_content(tmp_path: Path) -> None:
    content = saved(make_cr(), tmp_path).read_bytes()
    with pytest.raises(UnreadableFileError) as raised:
        parse_header(DamagedDisk(content))
    assert isinstance(raised.value.__cause__, OSError)
