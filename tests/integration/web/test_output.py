"""Downloads of what was made for an instance."""

import io
import socket
from pathlib import Path

import pypdfium2
from pydicom import dcmread
from support.reported_job import deliver, receive, report
from support.system.ports import LOOPBACK
from support.web_server import Web
from synthetic.report_sources import predicted

from service.domain.audit import Action
from service.domain.routing import OutputKind
from service.domain.user import Role
from service.settings.sections import SpoolSettings
from service.storage.retention import purge
from service.web.access import SESSION_COOKIE


def reported(web: Web) -> str:
    job_id = receive(web)
    report(web, job_id, predicted(), kinds=set(OutputKind))
    return job_id


def kept(web: Web, job_id: str, kind: str) -> Path:
    (uid,) = (
        each.sop_instance_uid for each in web.ledger.queries.outputs(job_id) if each.kind == kind
    )
    return web.spool.outbox(job_id, kind, uid)


def test_each_output_is_downloaded_byte_for_byte_and_audited(web: Web) -> None:
    job_id = reported(web)
    viewer = web.sign_in(Role.VIEWER, "vera")
    page = viewer.get(f"/jobs/{job_id}").text
    for kind in OutputKind:
        assert f'href="/jobs/{job_id}/outputs/{kind}"' in page
        answer = viewer.get(f"/jobs/{job_id}/outputs/{kind}")
        assert answer.status_code == 200
        assert answer.content == kept(web, job_id, kind).read_bytes()
        assert answer.headers["content-type"] == "application/dicom"
        name = f'attachment; filename="lobar-{job_id[:8]}-{kind}.dcm"'
        assert answer.headers["content-disposition"] == name
        assert answer.headers["cache-control"] == "no-store"
        newest = web.ledger.audit.recent(1)[0]
        assert (newest.action, newest.user, newest.job_id) == (Action.DOWNLOAD, "vera", job_id)
        assert newest.detail["kind"] == kind


def test_the_page_is_downloaded_as_a_pdf_too(web: Web) -> None:
    job_id = reported(web)
    answer = web.sign_in(Role.VIEWER).get(f"/jobs/{job_id}/outputs/pdf", params={"as": "pdf"})
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].endswith(f'"lobar-{job_id[:8]}-pdf.pdf"')
    assert len(pypdfium2.PdfDocument(io.BytesIO(answer.content))) == 1
    encapsulated = dcmread(kept(web, job_id, "pdf")).EncapsulatedDocument
    assert encapsulated.startswith(answer.content)


def test_the_job_is_downloaded_as_the_api_gives_it(web: Web) -> None:
    job_id = reported(web)
    viewer = web.sign_in(Role.VIEWER)
    answer = viewer.get(f"/jobs/{job_id}/outputs/json")
    assert web.ledger.audit.recent(1)[0].detail["form"] == "json"
    told = viewer.get(f"/api/jobs/{job_id}").json()
    assert answer.json() == told
    assert answer.headers["content-disposition"].endswith(f'"lobar-{job_id[:8]}.json"')


def test_what_is_no_output_is_refused_in_words(web: Web) -> None:
    job_id = reported(web)
    viewer = web.sign_in(Role.VIEWER)
    for address, status in (
        ("csv", 404),
        ("..%2f..%2finbox", 404),
        ("sr%00", 404),
        ("s" * 5000, 404),
        ("SR", 404),
        ("sr?as=pdf", 422),
        ("sr?as=exe", 422),
    ):
        answer = viewer.get(f"/jobs/{job_id}/outputs/{address}")
        assert answer.status_code == status
        assert "unexpected error" not in answer.text.lower()
    assert web.ledger.audit.recent(1) == []


def test_an_output_that_was_not_made_and_a_job_that_is_not_there_are_not_found(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = receive(web)
    for job in (job_id, "f" * 32, "..", "0"):
        assert viewer.get(f"/jobs/{job}/outputs/sr").status_code == 404


def test_after_retention_an_output_is_gone_and_the_job_is_not(web: Web) -> None:
    job_id = reported(web)
    deliver(web)
    (job,) = web.ledger.queries.recent()
    assert job.finished_at is not None
    at_once = web.settings.model_copy(update={"spool": SpoolSettings(keep_days=1e-9)})
    assert purge(at_once, web.ledger, web.spool).by_age == 1
    viewer = web.sign_in(Role.VIEWER)
    for address in ("sr", "overlay", "pdf?as=pdf"):
        answer = viewer.get(f"/jobs/{job_id}/outputs/{address}")
        assert answer.status_code == 410
        assert "Retention removed the bytes" in answer.text
    assert viewer.get(f"/jobs/{job_id}/outputs/json").status_code == 200
    shown = viewer.get(f"/jobs/{job_id}").text
    assert "Retention removed the bytes of what was sent." in shown
    assert f"/jobs/{job_id}/outputs/sr" not in shown


def test_bytes_that_are_missing_are_gone(web: Web) -> None:
    job_id = reported(web)
    for kind in ("sr", "pdf"):
        kept(web, job_id, kind).unlink()
    viewer = web.sign_in(Role.VIEWER)
    for address in ("sr", "pdf?as=pdf"):
        assert viewer.get(f"/jobs/{job_id}/outputs/{address}").status_code == 410


def test_a_damaged_page_is_an_error_in_words(web: Web) -> None:
    job_id = reported(web)
    kept(web, job_id, "pdf").write_bytes(b"nothing of the kind")
    answer = web.sign_in(Role.VIEWER).get(f"/jobs/{job_id}/outputs/pdf?as=pdf")
    assert answer.status_code == 500
    assert "The output is not a DICOM file." in answer.text


def test_downloads_are_for_those_who_may_see_patients(web: Web) -> None:
    job_id = reported(web)
    for kind in (*OutputKind, "json"):
        assert web.client.get(f"/jobs/{job_id}/outputs/{kind}").status_code == 403
    operator = web.sign_in(Role.OPERATOR)
    for kind in (*OutputKind, "json"):
        assert operator.get(f"/jobs/{job_id}/outputs/{kind}").status_code == 403
        answer = web.client.get(f"/jobs/{job_id}/outputs/{kind}")  # a person is asked to sign in
        assert (answer.status_code, answer.headers["location"][:9]) == (303, "/sign-in?")


def test_a_browser_that_goes_away_in_the_middle_harms_nobody(web: Web) -> None:
    job_id = reported(web)
    path = kept(web, job_id, "overlay")
    path.write_bytes(path.read_bytes() + b"\0" * (32 << 20))  # more than sockets buffer
    viewer = web.sign_in(Role.VIEWER)
    cookie = viewer.cookies[SESSION_COOKIE]
    request = (
        f"GET /jobs/{job_id}/outputs/overlay HTTP/1.1\r\nHost: {LOOPBACK}:{web.port}\r\n"
        f"Cookie: {SESSION_COOKIE}={cookie}\r\n\r\n"
    )
    for _ in range(5):
        with socket.create_connection((LOOPBACK, web.port)) as browser:
            browser.sendall(request.encode())
            assert browser.recv(1000).startswith(b"HTTP/1.1 200")
    assert viewer.get(f"/jobs/{job_id}").status_code == 200
    assert len(viewer.get(f"/jobs/{job_id}/outputs/overlay").content) == path.stat().st_size
