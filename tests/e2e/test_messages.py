"""Reports told to a webhook, a RIS and a FHIR server by a whole service whose worker is killed."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from peers.dcmtk import dcmtk_store
from peers.fhir_server import FhirStore
from peers.mllp import ScriptedMllp, acknowledge, framed
from peers.web_service import Request, Response, WebService
from support.lobar_process import LobarService, wait_for
from support.system.ports import LOOPBACK
from synthetic.objects import make_cr

from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk


def test_each_receiver_is_told_although_the_worker_is_killed_while_one_answers(
    lobar_service: Callable[..., LobarService], tmp_path: Path
) -> None:
    instance, file = make_cr(patient_name="Secret^Name"), tmp_path / "chest.dcm"
    instance.save_as(file, enforce_file_format=True)
    asked, killed = threading.Event(), threading.Event()

    def answer_late(_: Request) -> Response:
        asked.set()
        killed.wait(60)
        return Response(200)

    store = FhirStore()
    hook, ehr = WebService(answer_late), WebService(store.answer)
    ris = ScriptedMllp(lambda message: framed(acknowledge(message)))
    every = {"outcomes": ["present", "absent", "indeterminate", "not_analysed"]}
    destinations = [
        {"name": "hook", "kind": "webhook", "url": hook.url, **every},
        {"name": "ris", "kind": "hl7", "host": LOOPBACK, "port": ris.port, **every},
        {"name": "ehr", "kind": "fhir", "url": ehr.url, **every},
    ]
    with hook.running(), ehr.running(), ris.running():
        lobar = lobar_service(destinations)
        sent = dcmtk_store(lobar.dicom_port, lobar.ae_title, [file])
        assert sent.returncode == 0, sent.stderr
        wait_for(asked.is_set)
        lobar.kill_part("deliver")
        killed.set()
        job = lobar.settled(instance.SOPInstanceUID)
        assert lobar.balance() == 0
        lobar.stop()
    assert job.state in {JobState.DELIVERED, JobState.NOT_ANALYSED}
    events = {json.loads(each.body)["id"] for each in hook.requests}
    assert len(hook.requests) >= 2  # once before it was killed, and again
    assert len(events) == 1
    assert len(set(ris.received)) == 1
    assert "Secret^Name" in ris.received[0]
    assert len(store.of("DiagnosticReport")) == 1
    assert "Secret" not in lobar.log.read_text()
