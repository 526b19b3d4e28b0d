"""`lobar acceptance` against real PACS: what it says of each is what that one does.

The command is that of docs/acceptance.md and docs/connect/generic.md.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from peers.orthanc import DICOMWEB_OPTIONS, OrthancServer, need_dicomweb_plugin
from peers.scripted_pacs import ScriptedPacs
from pydicom.dataset import Dataset
from support.late_reactor import run_late
from support.lobar_process import destination
from support.system.ports import LOOPBACK, free_port

from service.settings import (
    DimseDestination,
    Settings,
    WebDestination,
    environment_without_settings,
)
from workers.acceptance.dicomweb import first_part
from workers.acceptance.kept import changed_attributes, in_words
from workers.acceptance.run import Acceptance, Options, as_markdown, run_acceptance
from workers.acceptance.study import PATIENT_NAME

EVERY_KIND = ["sr", "overlay", "gsps", "pdf"]
QUICK = Options(repeats=2, commitment_seconds=5)


@pytest.fixture(scope="module")
def lobar_port() -> int:
    """A port that is configured in Orthanc before Lobar listens on it."""
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, lobar_port: int) -> Iterator[OrthancServer]:
    """An Orthanc that answers every service, over DIMSE and DICOMweb."""
    server = OrthancServer(
        tmp_path_factory.mktemp("orthanc"),
        plugins=[need_dicomweb_plugin()],
        options={
            **DICOMWEB_OPTIONS,
            "DicomModalities": {"lobar": ["LOBAR", LOOPBACK, lobar_port]},
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
        },
    )
    server.start()
    yield server
    server.kill()


def accept(folder: Path, pacs: dict[str, Any], port: int = 0, **options: Any) -> Acceptance:  # noqa: ANN401
    settings = Settings(
        state_dir=folder,
        dicom={"port": port or free_port()},
        destinations=({"outputs": EVERY_KIND, "connect_seconds": 2, **pacs},),
    )
    (chosen,) = settings.destinations
    assert isinstance(chosen, DimseDestination | WebDestination)
    return run_acceptance(
        settings, chosen, Options(**{"repeats": 2, "commitment_seconds": 5} | options)
    )


def results(acceptance: Acceptance) -> dict[str, str]:
    return {each.step: str(each.result) for each in acceptance.observations}


def detail(acceptance: Acceptance, step: str) -> str:
    (found,) = [each.detail for each in acceptance.observations if each.step == step]
    return found


@pytest.mark.orthanc
def test_orthanc_takes_commits_finds_and_keeps_everything(
    orthanc: OrthancServer, lobar_port: int, tmp_path: Path
) -> None:
    orthanc.reset()
    pacs = destination(orthanc, "archive", storage_commitment=True)
    acceptance = accept(tmp_path, pacs, lobar_port)
    found = results(acceptance)
    assert acceptance.accepted, as_markdown(acceptance)
    for step in ("Takes the image", *(f"Takes the {kind}" for kind in EVERY_KIND)):
        assert found[step] == "passed"
    assert found["Takes the same object again"] == "passed"
    assert found["Commits itself"] == "passed"
    assert detail(acceptance, "Commits itself") == "5 of 5 objects, on another association"
    assert found["Holds each object once"] == "passed"
    assert found["Keeps the report as it was sent"] == "passed"
    held = orthanc.instances()
    assert len(held) == 5
    assert {each["PatientID"] for each in held} == {acceptance.study.patient_id}
    assert {each["PatientName"] for each in held} == {PATIENT_NAME}
    page = as_markdown(acceptance)
    assert acceptance.study.study_instance_uid in page.split("## What stays")[1]
    assert "Not a medical device" in page
    assert str(tmp_path) not in page


@pytest.mark.orthanc
def test_no_answer_is_lost_where_the_machine_is_busy(
    orthanc: OrthancServer, lobar_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pynetdicom's own thread drops answers that come before it has paused."""
    orthanc.reset()
    run_late(monkeypatch)
    pacs = destination(orthanc, "archive", storage_commitment=True)
    acceptance = accept(tmp_path, pacs, lobar_port)
    assert acceptance.accepted, as_markdown(acceptance)
    assert results(acceptance)["Keeps the report as it was sent"] == "passed"


@pytest.mark.orthanc
def test_a_second_run_stores_a_study_of_its_own(orthanc: OrthancServer, tmp_path: Path) -> None:
    orthanc.reset()
    studies = {
        accept(tmp_path, destination(orthanc, "archive"), with_image=False).study.study_instance_uid
        for _ in range(2)
    }
    assert len(studies) == 2
    assert len(orthanc.instances()) == 2 * len(EVERY_KIND)


@pytest.mark.orthanc
def test_over_dicomweb_the_same_is_shown_and_what_cannot_be_deleted_is_named(
    orthanc: OrthancServer, tmp_path: Path
) -> None:
    orthanc.reset()
    acceptance = accept(tmp_path, {"name": "web", "url": orthanc.dicomweb_url}, remove=True)
    found = results(acceptance)
    assert acceptance.accepted, as_markdown(acceptance)
    assert found["Holds each object once"] == "passed"
    assert found["Keeps the report as it was sent"] == "passed"
    assert found["Deletes the study when asked"] == "not offered"
    assert len(orthanc.instances()) == 5
    assert acceptance.study.study_instance_uid in as_markdown(acceptance)


@pytest.mark.dcmtk
def test_a_receiver_of_objects_alone_offers_neither_search_nor_commitment(
    storescp: Callable[..., StoreSCP], tmp_path: Path
) -> None:
    acceptance = accept(tmp_path, destination(storescp(), "store"))
    found = results(acceptance)
    assert acceptance.accepted, as_markdown(acceptance)
    assert found["Takes the sr"] == "passed"
    assert found["Commits itself"] == "not offered"
    assert found["Holds each object once"] in {"not offered", "not tried"}


@pytest.mark.dcmtk
def test_commitment_that_is_relied_upon_and_not_offered_fails(
    storescp: Callable[..., StoreSCP], tmp_path: Path
) -> None:
    pacs = destination(storescp(), "store", storage_commitment=True)
    acceptance = accept(tmp_path, pacs, with_image=False)
    assert results(acceptance)["Commits itself"] == "failed"
    assert not acceptance.accepted


def test_a_refusal_fails_and_names_its_status(tmp_path: Path) -> None:
    def refuse_overlays(dataset: Dataset) -> int:
        return 0xA900 if dataset.Modality == "OT" else 0x0000

    with ScriptedPacs(answer=refuse_overlays).running() as pacs:
        acceptance = accept(tmp_path, destination(pacs, "strict", outputs=["sr", "overlay"]))
    found = results(acceptance)
    assert not acceptance.accepted
    assert (found["Takes the sr"], found["Takes the overlay"]) == ("passed", "failed")
    assert detail(acceptance, "Takes the overlay") == "0xA900, a failure"
    assert found["Takes the image"] == "not offered"


def test_a_pacs_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    nobody = {"name": "gone", "ae_title": "GONE", "host": LOOPBACK, "port": free_port()}
    acceptance = accept(tmp_path, nobody)
    (only,) = acceptance.observations
    assert (only.step, str(only.result), only.detail) == ("Answers", "failed", "no-connection")


def command(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", "acceptance", *words],
        env=environment_without_settings() | {"LOBAR_STATE_DIR": str(folder)} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_prints_json_and_its_status_says_whether_anything_failed(
    tmp_path: Path,
) -> None:
    with ScriptedPacs().running() as pacs:
        listed = json.dumps([destination(pacs, "pacs")])
        environment = {"LOBAR_DESTINATIONS": listed, "LOBAR_DICOM__PORT": str(free_port())}
        done = command(tmp_path, "--destination", "pacs", "--repeats", "1", "--json", **environment)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["accepted"] is True
    assert {each["result"] for each in printed["observations"]} >= {"passed", "not offered"}
    assert set(printed["stays"]) == {"patient_name", "patient_id", "study_instance_uid"}
    failed = command(tmp_path, "--destination", "pacs", **environment)
    assert failed.returncode == 1
    assert "| Answers | failed | no-connection |" in failed.stdout
    assert not list(tmp_path.iterdir()), "it leaves no file, and opens no ledger"


def test_an_unknown_destination_is_one_line(tmp_path: Path) -> None:
    done = command(tmp_path, "--destination", "nobody")
    assert done.returncode == 2
    assert done.stderr == "lobar: No destination has this name (none is configured).\n"


def test_a_changed_report_is_seen() -> None:
    sent, kept = Dataset(), Dataset()
    sent.PatientName = kept.PatientName = "A^B"
    sent.ContentSequence, kept.ContentSequence = [Dataset()], [Dataset()]
    assert changed_attributes(sent, kept) == []
    kept.ContentSequence[0].ValueType = "TEXT"
    kept.InstitutionName = "x"
    assert changed_attributes(sent, kept) == ["ContentSequence", "InstitutionName"]
    assert in_words(["A"] * 10) == f"changed, added or removed: {', '.join(['A'] * 8)} and 2 more"


@pytest.mark.parametrize("body", [b"", b"--x\r\n\r\nno end", b"none\r\n\r\nx", bytes(64)])
def test_what_is_no_multipart_body_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no multipart body"):
        first_part(body)


def test_the_first_part_of_a_body_is_its_content() -> None:
    assert first_part(b"\r\n--x\r\nContent-Type: a/b\r\n\r\nDICM\r\n--x--\r\n") == b"DICM"
