"""A radiograph analysed at one operating point and then at another, in a real PACS."""

import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from peers.dcmtk import dcmtk_store
from peers.orthanc import OrthancServer
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.lobar_process import LobarService, destination
from synthetic.objects import make_cr

from service.domain.job import JobState

pytestmark = [pytest.mark.orthanc, pytest.mark.dcmtk]


@pytest.fixture
def lobar(orthanc: OrthancServer, tmp_path: Path) -> Iterator[LobarService]:
    service = LobarService(
        tmp_path,
        [destination(orthanc, "pacs")],
        LOBAR_BUNDLE__OPERATING_POINT="balanced",
    )
    service.start()
    yield service
    service.kill()


def reports(orthanc: OrthancServer) -> list[Dataset]:
    found = (each for each in orthanc.instances() if each["Modality"] == "SR")
    datasets = [dcmread(BytesIO(orthanc.dicom_file(each["ID"]))) for each in found]
    return sorted(datasets, key=lambda each: "PredecessorDocumentsSequence" in each)


def reanalyse(lobar: LobarService, uid: str) -> None:
    command = [sys.executable, "-m", "service.cli", "requeue", "--reanalyse", uid]
    subprocess.run([*lobar.command_prefix(), *command], check=True, capture_output=True)
    assert lobar.settled(uid).state is JobState.DELIVERED


def test_another_operating_point_leaves_a_second_report_in_the_pacs_that_names_the_first(
    lobar: LobarService, orthanc: OrthancServer, tmp_path: Path
) -> None:
    source = make_cr()
    file = tmp_path / "chest.dcm"
    source.save_as(file, enforce_file_format=True)
    assert dcmtk_store(lobar.dicom_port, lobar.ae_title, [file]).returncode == 0
    assert lobar.settled(source.SOPInstanceUID).operating_point == "balanced"
    (first,) = reports(orthanc)

    reanalyse(lobar, source.SOPInstanceUID)
    assert len(orthanc.instances()) == 2, "the same again is the same, and nothing is sent"

    lobar.stop()
    lobar.set(LOBAR_BUNDLE__OPERATING_POINT="screening")
    lobar.start()
    reanalyse(lobar, source.SOPInstanceUID)
    assert lobar.settled(source.SOPInstanceUID).operating_point == "screening"
    before, after = reports(orthanc)
    assert before.SOPInstanceUID == first.SOPInstanceUID
    (study,) = after.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == first.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert study.StudyInstanceUID == source.StudyInstanceUID
    assert len(orthanc.instances()) == 4, "two reports and two overlays"
    assert lobar.balance() == 0
