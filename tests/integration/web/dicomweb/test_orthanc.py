"""A real client of DICOMweb: Orthanc's plugin stores to Lobar, searches and retrieves there."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
from peers.orthanc import OrthancServer, dicomweb_orthanc
from pydicom import dcmread
from pydicom.uid import JPEGLosslessSV1
from support.study import keep_study
from support.system.http import HTTP
from support.web_server import Web
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.domain.user import Role
from service.web.access import SESSION_COOKIE

pytestmark = pytest.mark.orthanc

SECONDS: Final = 120  # Orthanc's jobs, on a busy machine


@pytest.fixture
def client(web: Web, tmp_path: Path) -> Iterator[OrthancServer]:
    """An Orthanc that knows `web` as a DICOMweb server, with the session of a radiologist."""
    session = web.sign_in(Role.RADIOLOGIST)
    headers = {
        "Cookie": f"{SESSION_COOKIE}={session.cookies[SESSION_COOKIE]}",
        "X-CSRF-Token": session.headers["X-CSRF-Token"],
    }
    folder = tmp_path / "orthanc"
    folder.mkdir()
    orthanc = dicomweb_orthanc(folder)
    orthanc.start()
    server = {"Url": f"{web.client.base_url}/dicom-web/", "HttpHeaders": headers}
    HTTP.put(f"{orthanc.dicomweb_url}/servers/lobar", json=server).raise_for_status()
    yield orthanc
    orthanc.kill()


def ask(client: OrthancServer, action: str, **request: object) -> httpx.Response:
    url = f"{client.dicomweb_url}/servers/lobar/{action}"
    answer = HTTP.post(url, json=request, timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return answer


def test_orthanc_stores_its_instances_in_lobar(web: Web, client: OrthancServer) -> None:
    source = make_cr()
    client.keep(part10(source))
    (kept,) = client.instances()
    ask(client, "stow", Resources=[kept["ID"]], Synchronous=True)
    (job,) = web.ledger.queries.recent()
    assert job.sop_instance_uid == source.SOPInstanceUID
    received = dcmread(web.spool.inbox(job.id))
    assert np.array_equal(received.pixel_array, source.pixel_array)
    assert web.left_in_incoming() == []


def test_orthanc_finds_and_retrieves_a_study_of_lobar(web: Web, client: OrthancServer) -> None:
    source = make_cr(patient_name="Müller^Jörg", charset="ISO_IR 100")
    kept = keep_study(web, source)
    headers = {"Accept": "application/dicom+json"}
    found: list[dict[str, Any]] = ask(
        client, "get", Uri="/studies", Arguments={"PatientName": "M*"}, HttpHeaders=headers
    ).json()
    assert [each["0020000D"]["Value"] for each in found] == [[source.StudyInstanceUID]]
    ask(client, "retrieve", Resources=[{"Study": source.StudyInstanceUID}], Synchronous=True)
    retrieved = {each["SOPInstanceUID"]: each for each in client.instances()}
    assert len(retrieved) == 1 + len(kept.outputs)
    assert retrieved.keys() == {each.SOPInstanceUID for each in (source, *kept.outputs.values())}
    image = client.dicom_file(retrieved[source.SOPInstanceUID]["ID"])
    assert np.array_equal(dcmread(BytesIO(image)).pixel_array, source.pixel_array)


def test_orthanc_retrieves_a_compressed_instance(web: Web, client: OrthancServer) -> None:
    source = make_cr()
    keep_study(web, source, JPEGLosslessSV1)
    headers = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}
    resources = [{"Study": source.StudyInstanceUID}]
    ask(client, "retrieve", Resources=resources, HttpHeaders=headers, Synchronous=True)
    uids = {each["SOPInstanceUID"] for each in client.instances()}
    assert source.SOPInstanceUID in uids
