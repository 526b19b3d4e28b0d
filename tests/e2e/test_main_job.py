"""The main job: DCMTK stores an image, and a real Orthanc ends up with its report.

An irregular or damaged image ends in a state with a reason.
"""

import json
import subprocess
from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final, cast

import highdicom
import pytest
from peers.dcmtk import dcmtk_store
from peers.orthanc import OrthancServer
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    Comprehensive3DSRStorage,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEGBaseline8Bit,
)
from pynetdicom import AE
from support.lobar_process import LobarService
from support.module_process import run_module
from support.system.http import HTTP
from synthetic.bad_instances import BAD
from synthetic.codecs import encode
from synthetic.objects import make_cr, make_dx, make_sc
from synthetic.pictures import chest

from service.dicom.reactor_pause import held, install
from service.dicom.sop_classes import TRANSFER_SYNTAXES
from service.domain.job import JobState
from service.settings import child_environment

pytestmark = [pytest.mark.orthanc, pytest.mark.dcmtk]
NAMES: Final[list[tuple[str | list[str], str]]] = [
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 144", "Люксембург"),
    ("ISO_IR 192", "A" * 200),
]
UNKNOWN_TO_DCMTK = {HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL}


def reports(archive: OrthancServer, study_instance_uid: str) -> dict[str, Dataset]:
    """Return the archive's instances of a study, by modality."""
    return {
        str(instance["Modality"]): dcmread(BytesIO(archive.dicom_file(str(instance["ID"]))))
        for instance in archive.instances()
        if instance["StudyInstanceUID"] == study_instance_uid
    }


def store_with_pynetdicom(lobar: LobarService, instance: Dataset) -> None:
    ae = AE()
    ae.add_requested_context(instance.SOPClassUID, instance.file_meta.TransferSyntaxUID)
    association = ae.associate(lobar.host, lobar.dicom_port, ae_title=lobar.ae_title)
    assert association.is_established
    install(association)
    with held(association):
        assert association.send_c_store(instance).Status == 0
    association.release()


def certainty(report: Dataset) -> float:
    """Read the Certainty of Finding, in percent, from a report's tree."""
    content = cast(
        "highdicom.sr.MeasurementReport",
        highdicom.sr.Comprehensive3DSR.from_dataset(report).content,
    )
    groups: list[Any] = [
        *content.get_image_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
    ]
    (group,) = groups
    (measurement,) = (item for item in group[0].ContentSequence if item.name.value == "111012")
    return float(measurement.value)


def analysed_offline(file: Path, lobar: LobarService) -> dict[str, Any]:
    environment = child_environment(**lobar.environment)
    done = run_module(
        lobar.folder, "service.cli", "analyze", "--json", str(file), environment=environment
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.data
def test_a_real_radiograph_comes_back_as_a_valid_report(
    lobar: LobarService,
    archive: OrthancServer,
    radiographs: Path,
    tmp_path: Path,
    program: Callable[[str], Path],
) -> None:
    file = tmp_path / "chest.dcm"
    file.write_bytes((radiographs / "dicom" / "chest_cr_mono1_jpeg2000.dcm").read_bytes())
    source = dcmread(file, stop_before_pixels=True)
    sent = dcmtk_store(lobar.dicom_port, lobar.ae_title, [file])
    assert sent.returncode == 0, sent.stderr
    job = lobar.settled(source.SOPInstanceUID)
    assert job.state == JobState.DELIVERED

    found = reports(archive, source.StudyInstanceUID)
    assert set(found) == {"SR", "OT"}
    report = found["SR"]
    assert report.SOPClassUID == Comprehensive3DSRStorage
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyID", "StudyDate"):
        assert report.get(keyword) == source.get(keyword), keyword
    assert job.probability is not None
    assert certainty(report) == pytest.approx(100 * job.probability, abs=0.05)

    kept = tmp_path / "report.dcm"
    report.save_as(kept)
    judged = subprocess.run(
        [program("dciodvfy"), kept], check=False, capture_output=True, text=True
    )
    assert "Error" not in judged.stdout + judged.stderr
    offline = analysed_offline(file, lobar)
    assert offline["probability"] == pytest.approx(job.probability, abs=1e-6)
    assert offline["finding"] == job.finding


def test_every_transfer_syntax_is_analysed_and_reported(
    lobar: LobarService, archive: OrthancServer, store: Callable[..., None]
) -> None:
    makers = (make_cr, make_dx, make_sc)
    instances = []
    for number, syntax in enumerate(TRANSFER_SYNTAXES):
        bits: dict[str, Any] = {"bits_stored": 8} if syntax == JPEGBaseline8Bit else {}
        # HTJ2K codestreams exist for the pictures of CR and DX only
        make = make_cr if syntax in UNKNOWN_TO_DCMTK else makers[number % 3]
        instances.append(encode(make(**bits), syntax))
    store(*(i for i in instances if i.file_meta.TransferSyntaxUID not in UNKNOWN_TO_DCMTK))
    for instance in instances:
        if instance.file_meta.TransferSyntaxUID in UNKNOWN_TO_DCMTK:
            store_with_pynetdicom(lobar, instance)
    for instance in instances:
        job = lobar.settled(instance.SOPInstanceUID)
        assert job.state == JobState.DELIVERED, (instance.file_meta.TransferSyntaxUID, job)
    found = defaultdict(set)
    for each in archive.instances():
        found[each["StudyInstanceUID"]].add(each["Modality"])
    for instance in instances:
        assert found[instance.StudyInstanceUID] == {"SR", "OT"}, instance


def test_the_same_instance_sent_twice_is_reported_once(
    lobar: LobarService, archive: OrthancServer, store: Callable[..., None]
) -> None:
    instance = make_cr()
    store(instance)
    lobar.settled(instance.SOPInstanceUID)
    before = len(archive.instances())
    store(instance)
    assert len(lobar.jobs(instance.SOPInstanceUID)) == 1
    assert len(archive.instances()) == before


def test_an_uploaded_picture_is_reported_too(
    lobar: LobarService, archive: OrthancServer, tmp_path: Path
) -> None:
    picture = tmp_path / "chest.png"
    Image.fromarray(chest(300, 280, 8).astype("uint8")).save(picture)
    with picture.open("rb") as stream:
        answer = HTTP.post(f"{lobar.url}/api/instances", files={"file": stream})
    assert answer.is_success, answer.text
    (job_id,) = [each["job_id"] for each in answer.json()["instances"]]
    uid = HTTP.get(f"{lobar.url}/api/jobs/{job_id}").json()["job"]["sop_instance_uid"]
    job = lobar.settled(uid)
    assert job.state == JobState.DELIVERED
    assert set(reports(archive, job.study_instance_uid)) == {"SR", "OT"}


def test_own_results_coming_back_are_not_analysed_again(
    lobar: LobarService, archive: OrthancServer, store: Callable[..., None]
) -> None:
    instance = make_dx()
    store(instance)
    lobar.settled(instance.SOPInstanceUID)
    overlay = reports(archive, instance.StudyInstanceUID)["OT"]
    store(overlay)
    job = lobar.settled(overlay.SOPInstanceUID)
    assert (job.state, job.reason) == (JobState.NOT_ANALYSED, "own-result")


def test_a_bad_instance_is_not_analysed_with_its_reason_and_good_ones_beside_it_are_reported(
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
def test_a_name_in_any_character_set_is_carried_over(
    lobar: LobarService, store: Callable[..., None]
) -> None:
    instances = [make_cr(charset=charset, patient_name=name) for charset, name in NAMES]
    unknown = make_cr(charset="ISO_IR 6", patient_name="Broken^Character^Set")
    unknown.add_new(0x00080005, "CS", "ISO_IR 999")
    store(*instances, unknown)
    for instance in (*instances, unknown):
        job = lobar.settled(instance.SOPInstanceUID)
        assert job.state == JobState.DELIVERED, instance.SpecificCharacterSet


def test_received_equals_delivered_and_the_rest_on_the_metrics_page(
    lobar: LobarService, store: Callable[..., None]
) -> None:
    instance = make_cr()
    store(instance)
    lobar.settled(instance.SOPInstanceUID)
    metrics = lobar.metrics()
    assert metrics["lobar_balance"] == 0
    received = metrics['lobar_instances_received_total{source="dicom"}'] + metrics.get(
        'lobar_instances_received_total{source="upload"}', 0
    )
    assert received == metrics["lobar_ledger_received"]
    assert metrics['lobar_jobs{state="delivered"}'] >= 1
