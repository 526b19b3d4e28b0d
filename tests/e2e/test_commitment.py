"""Storage commitment with a real Orthanc, as SCP and as SCU."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import dcmtk_store
from peers.orthanc import OrthancServer
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from support.lobar_process import LobarService, destination, wait_for
from support.system.http import HTTP
from support.system.ports import LOOPBACK, free_port
from synthetic.objects import make_cr

from service.domain.delivery import DeliveryState
from service.domain.job import JobState

pytestmark = pytest.mark.orthanc


@pytest.fixture(scope="module")
def lobar_port() -> int:
    """A port that is configured in Orthanc before Lobar listens on it."""
    return free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, lobar_port: int) -> Iterator[OrthancServer]:
    """An Orthanc with Lobar's address, without which it sends no result of commitment."""
    server = OrthancServer(
        tmp_path_factory.mktemp("orthanc"),
        options={
            "DicomModalities": {"lobar": ["LOBAR", LOOPBACK, lobar_port]},
            "ExecuteLuaEnabled": True,
        },
    )
    server.start()
    yield server
    server.kill()


@pytest.fixture
def archive(orthanc: OrthancServer) -> OrthancServer:
    orthanc.start()
    orthanc.reset()
    return orthanc


@pytest.fixture(scope="module")
def service(
    orthanc: OrthancServer, lobar_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LobarService]:
    """A Lobar that requests commitment from Orthanc; one for all tests here."""
    pacs = destination(orthanc, "archive", storage_commitment=True, commitment_seconds=3)
    running = LobarService(
        tmp_path_factory.mktemp("lobar"), [pacs], LOBAR_DICOM__PORT=str(lobar_port)
    )
    running.start()
    yield running
    running.kill()


@pytest.fixture
def stranger(archive: OrthancServer, service: LobarService) -> Iterator[Callable[[], None]]:
    """Take Lobar's address from Orthanc, which then sends it no result; called, give it back."""
    modality = f"{archive.http_url}/modalities/lobar"
    HTTP.delete(modality).raise_for_status()

    def introduce() -> None:
        known = {"AET": service.ae_title, "Host": service.host, "Port": service.dicom_port}
        HTTP.put(modality, json=known).raise_for_status()

    yield introduce
    introduce()


def store(archive: OrthancServer, dataset: Dataset, folder: Path) -> None:
    """Store an image in Orthanc, which then stores it to Lobar."""
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    uploaded = HTTP.post(f"{archive.http_url}/instances", content=path.read_bytes())
    resource = uploaded.raise_for_status().json()["ID"]
    sent = HTTP.post(f"{archive.http_url}/modalities/lobar/store", content=resource, timeout=60)
    sent.raise_for_status()


def names(service: LobarService, job_id: str) -> list[str]:
    ledger = service.ledger()
    trace = [event.name for event in ledger.queries.trace(job_id)]
    ledger.close()
    return trace


def states(service: LobarService, job_id: str) -> set[DeliveryState]:
    ledger = service.ledger()
    found = {each.state for each in ledger.queries.deliveries(job_id)}
    ledger.close()
    return found


def asked_of_lobar(archive: OrthancServer, instances: list[tuple[str, str]]) -> dict[str, Any]:
    """Have Orthanc request commitment from Lobar, and return the result when it is there."""
    asked = HTTP.post(
        f"{archive.http_url}/modalities/lobar/storage-commitment",
        json={"DicomInstances": [list(each) for each in instances], "Timeout": 30},
        timeout=60,
    )
    transaction = asked.raise_for_status().json()["ID"]

    def result() -> dict[str, Any] | None:
        found = HTTP.get(f"{archive.http_url}/storage-commitment/{transaction}")
        report: dict[str, Any] = found.raise_for_status().json()
        return report if report["Status"] != "Pending" else None

    return dict(wait_for(result, seconds=30))


def test_a_job_is_delivered_after_orthanc_has_committed_itself(
    service: LobarService, archive: OrthancServer, tmp_path: Path
) -> None:
    before = service.metrics()
    dataset = make_cr()
    store(archive, dataset, tmp_path)
    job = service.settled(dataset.SOPInstanceUID)
    assert (job.state, job.reason) == (JobState.DELIVERED, None)
    trace = names(service, job.id)
    assert trace.count("output-stored") == trace.count("output-committed") == 2
    assert "output-delivered" not in trace
    after = service.metrics()
    for counted in (
        'lobar_commitments_total{destination="archive",outcome="committed"}',
        'lobar_deliveries{destination="archive",state="delivered"}',
    ):
        assert after[counted] - before.get(counted, 0) == 2
    assert service.balance() == 0


def test_a_report_that_orthanc_lost_before_it_was_asked_is_sent_again(
    service: LobarService, archive: OrthancServer, tmp_path: Path
) -> None:
    dataset = make_cr()
    script = "function OnStoredInstance(id, tags, metadata, origin)\n"
    script += "  if tags['Modality'] == 'SR' then Delete(id) end\nend\n"
    run(archive, script)
    store(archive, dataset, tmp_path)

    def not_committed() -> bool:
        (job,) = service.jobs(dataset.SOPInstanceUID)
        return "output-not-committed" in names(service, job.id)

    wait_for(not_committed, seconds=60)
    run(archive, "OnStoredInstance = nil")
    job = service.settled(dataset.SOPInstanceUID)
    assert (job.state, job.reason) == (JobState.DELIVERED, None)
    modalities = sorted(str(each["Modality"]) for each in archive.instances())
    assert modalities == ["CR", "OT", "SR"]


def run(archive: OrthancServer, script: str) -> None:
    """Replace the Lua script that Orthanc runs for stored instances."""
    sent = HTTP.post(f"{archive.http_url}/tools/execute-script", content=script)
    sent.raise_for_status()


@pytest.mark.dcmtk
def test_a_deliver_worker_killed_between_store_and_commitment_loses_nothing(
    service: LobarService, stranger: Callable[[], None], tmp_path: Path
) -> None:
    dataset = make_cr()
    file = tmp_path / "chest.dcm"
    dataset.save_as(file, enforce_file_format=True)
    assert dcmtk_store(service.dicom_port, service.ae_title, [file]).returncode == 0

    def stored() -> bool:
        jobs = service.jobs(dataset.SOPInstanceUID)
        return bool(jobs) and states(service, jobs[0].id) == {DeliveryState.STORED}

    wait_for(stored, seconds=40)
    service.kill_part("deliver")
    service.wait_until_ready()
    (job,) = service.jobs(dataset.SOPInstanceUID)
    assert (job.state, states(service, job.id)) == (JobState.REPORTED, {DeliveryState.STORED})
    stranger()
    assert service.settled(dataset.SOPInstanceUID).state == JobState.DELIVERED


def test_orthanc_gets_the_result_that_lobar_commits_itself_to_what_it_sent(
    service: LobarService, archive: OrthancServer, tmp_path: Path
) -> None:
    datasets = [make_cr(), make_cr()]
    for each in datasets:
        store(archive, each, tmp_path)
    sent = [(str(each.SOPClassUID), str(each.SOPInstanceUID)) for each in datasets]
    result = asked_of_lobar(archive, sent)
    assert (result["Status"], len(result["Success"])) == ("Success", 2)

    unknown, (_, uid) = (sent[0][0], str(generate_uid())), sent[1]
    result = asked_of_lobar(archive, [sent[0], unknown, ("1.2.840.10008.5.1.4.1.1.2", uid)])
    assert result["Status"] == "Failure"
    assert [each["SOPInstanceUID"] for each in result["Success"]] == [sent[0][1]]
    failures = {each["SOPInstanceUID"]: each["FailureReason"] for each in result["Failures"]}
    assert failures == {unknown[1]: 0x0112, uid: 0x0119}
    (job,) = service.jobs(sent[0][1])
    # both are recorded when Orthanc has answered, which may be after it shows the result
    wait_for(lambda: names(service, job.id).count("instance-committed") == 2, seconds=30)
    wait_for(lambda: not has_results_to_send(service), seconds=30)


def has_results_to_send(service: LobarService) -> bool:
    ledger = service.ledger()
    oldest = ledger.queries.due().oldest_answer_at
    ledger.close()
    return oldest is not None
