"""The demonstration with damaged files, and when it is killed."""

import subprocess
from pathlib import Path

import pytest
from peers.scripted_pacs import EXPLICIT, ScriptedPacs
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage
from support.lobar_process import processes_of, wait_for
from synthetic.objects import make_cr

from service.demo.run import _send_one
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
