"""The demonstration with damaged files, and when it is killed."""

import subprocess
from pathlib import Path

import pytest
from peers.scripted_pacs import EXPLICIT, ScriptedPacs
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage
from rich.console import Console
from support.inference_worker import Workspace
from support.lobar_process import processes_of, wait_for
from support.routes import to
from synthetic.objects import make_cr

from service.demo.pacs import StandInPacs
from service.demo.run import Sent, _print_table, _send_one
from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, OtherAbnormality
from service.settings import environment_without_settings
from service.supervision.supervisor import lobar_command

LISTENER = ScriptedPacs(ae_title="LOBAR", takes=[(ComputedRadiographyImageStorage, EXPLICIT)])


def unnamed() -> Dataset:
    dataset = make_cr(rows=8, columns=8)
    del dataset.SOPInstanceUID
    return dataset


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_file_is_sent_or_refused_with_a_reason_and_affects_no_other(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html></html>")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "cut.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    make_cr(rows=8, columns=8).save_as(tmp_path / "good.dcm", enforce_file_format=True)
    unnamed().save_as(tmp_path / "unnamed.dcm")
    with LISTENER.running() as listener:
        sent = {
            name: _send_one(tmp_path / name, listener.port)
            for name in (
                "page.html",
                "empty.dcm",
                "absent.dcm",
                "cut.dcm",
                "unnamed.dcm",
                "good.dcm",
            )
        }
    assert {name: each.refusal for name, each in sent.items()} == {
        "page.html": "The file is neither DICOM nor PNG nor JPEG.",
        "empty.dcm": "The file is neither DICOM nor PNG nor JPEG.",
        "absent.dcm": "No such file or directory",
        "cut.dcm": "The DICOM file cannot be read.",
        "unnamed.dcm": "The DICOM file cannot be read.",
        "good.dcm": "",
    }
    assert [each.sop_instance_uid != "" for each in sent.values()] == [False] * 5 + [True]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_instance_with_invalid_uids_is_refused_with_a_sentence(tmp_path: Path) -> None:
    dataset = make_cr(rows=8, columns=8)
    whole = tmp_path / "whole.dcm"
    dataset.save_as(whole, enforce_file_format=True)
    content = whole.read_bytes()
    with LISTENER.running() as listener:
        for uid in (dataset.SOPClassUID, dataset.SOPInstanceUID, EXPLICIT):
            for nonsense in (b"\0", b"0", b"\xff"):
                broken = tmp_path / "broken.dcm"
                broken.write_bytes(content.replace(uid.encode(), nonsense * len(uid)))
                sent = _send_one(broken, listener.port)
                assert sent.refusal.endswith("."), (uid, nonsense)
        assert _send_one(whole, listener.port).refusal == ""


@pytest.mark.parametrize(
    ("other", "row"),
    [
        (None, ["chest.dcm", "absent", "0.050"]),
        ("present", ["chest.dcm", "absent", "0.050", "present", "0.912"]),
    ],
)
def test_the_table_has_a_column_for_another_abnormality_where_the_model_reads_one(
    tmp_path: Path, other: str | None, row: list[str]
) -> None:
    house = Workspace(tmp_path)
    instance = make_cr(rows=8, columns=8)
    job_id = house.receive(instance)
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    conclusion = ConclusionRecord(
        finding="absent",
        probability=0.05,
        operating_point="balanced",
        model="m 1",
        other=OtherAbnormality(finding=other, probability=0.9123, operating_point="balanced")
        if other
        else None,
    )
    output = OutputRecord(kind="sr", sop_class_uid="1.2", sop_instance_uid="1.3")
    house.ledger.jobs.report(job, conclusion, [output], to(["pacs"]))
    sent = Sent(file=Path("chest.dcm"), sop_instance_uid=instance.SOPInstanceUID)
    console = Console(width=120)
    with console.capture() as capture:
        jobs = {sent.sop_instance_uid: house.job(job_id)}
        arrived = _print_table(console, house.ledger, StandInPacs(tmp_path), [sent], jobs)
    printed = capture.get()
    assert not arrived
    assert ("other abnormality" in printed) == (other is not None)
    (line,) = (line for line in printed.splitlines() if "chest.dcm" in line)
    assert line.split() == row


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_nothing_outlives_a_demonstration_that_is_killed(tmp_path: Path, signal: str) -> None:
    demonstration = subprocess.Popen(
        lobar_command("demo"),
        env={**environment_without_settings(), "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: list(tmp_path.glob("lobar-demo-*/state/lobar.lock")))
    finally:
        subprocess.run(["kill", f"-{signal}", str(demonstration.pid)], check=True)
        demonstration.wait()
    wait_for(lambda: processes_of(tmp_path) == [], seconds=60)
