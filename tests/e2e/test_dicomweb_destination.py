"""The main job over DICOMweb: an image comes in over C-STORE and its report is in Orthanc."""

from collections.abc import Callable
from pathlib import Path

import pytest
from peers.dcmtk import dcmtk_store
from peers.dicomweb import retrieve
from peers.orthanc import OrthancServer
from peers.web_service import WebService, gateway
from support.lobar_process import LobarService, wait_for
from support.system.certificates import Authority
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.settings import Settings
from service.storage.spool import Spool
from workers.checks import echo

pytestmark = [pytest.mark.orthanc, pytest.mark.dcmtk]
OLD, NEW = "old.Token-of-ours", "new.Token-of-ours"


def test_a_report_reaches_orthanc_through_tls_and_a_token_that_is_renewed_meanwhile(
    lobar_service: Callable[..., LobarService],
    orthanc_dicomweb: OrthancServer,
    authority: Authority,
    tmp_path: Path,
) -> None:
    instance, file = make_cr(), tmp_path / "chest.dcm"
    instance.save_as(file, enforce_file_format=True)
    token, client = tmp_path / "token", authority.issue("lobar")
    token.write_text(OLD)
    guarded = WebService(
        gateway(orthanc_dicomweb.http_url, lambda: NEW),
        tls=authority.server_context(authority.issue("server")),
    )
    destination = {
        "name": "web",
        "url": f"{guarded.url}/dicom-web",
        "bearer_token_file": str(token),
        "ca_file": str(authority.certificate),
        "client_certificate_file": str(client.with_key()),
    }
    with guarded.running():
        lobar = lobar_service([destination])
        sent = dcmtk_store(lobar.dicom_port, lobar.ae_title, [file])
        assert sent.returncode == 0, sent.stderr
        wait_for(lambda: guarded.requests)
        token.write_text(NEW)
        job = lobar.settled(instance.SOPInstanceUID)
        lobar.stop()
        settings = Settings(destinations=[destination])
        assert "answers a query" in echo(settings, settings.destinations[0])
    assert job.state == JobState.DELIVERED

    spool, ledger = Spool(lobar.state_dir / "spool"), lobar.ledger()
    outbox = [
        spool.outbox(job.id, each.kind, each.sop_instance_uid).read_bytes()
        for each in ledger.queries.outputs(job.id)
    ]
    ledger.close()
    study = f"studies/{instance.StudyInstanceUID}"
    assert sorted(retrieve(orthanc_dicomweb.dicomweb_url, study)) == sorted(outbox)
    log = lobar.log.read_text()
    assert "http-401" in log
    assert OLD not in log
    assert NEW not in log
