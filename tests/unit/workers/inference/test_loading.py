"""Loading of an instance: its header and pixels, or the reason for which it is not analysed."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian
from support.inference_worker import StandInPredictor
from synthetic.objects import make_cr

from service.domain.reasons import Reason
from workers.inference.loading import LoadedInstance, read
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
