"""The page to upload with, and the pages of results."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from support.routes import to
from support.web_server import Web, part10, picture
from synthetic.archives import zipped
from synthetic.objects import make_cr

from service.domain.audit import Action, AuditOutcome
from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, OtherAbnormality, Receipt
from service.domain.reasons import EXPLANATIONS, NOT_ANALYSED, Reason
from service.domain.user import Role
from service.web.uploading.refusals import ADVICE
from service.web.uploading.results import RecentUploads
from service.web.uploading.uploads import Uploaded

SCRIPT = {"x-lobar-script": "1"}
REPORT = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.77"
)
CONCLUSION = ConclusionRecord(
    finding="present",
    probability=0.87654,
    operating_point="screening",
    model="pneumonia 1.2",
    other=OtherAbnormality(finding="absent", probability=0.1, operating_point="screening"),
)


def report(web: Web, destinations: list[str]) -> None:
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.report(job, CONCLUSION, [REPORT], to(destinations))


def uploaded(web: Web, *files: tuple[str, bytes], **options: object) -> httpx.Response:
    sent = [("files", each) for each in files]
    return web.client.post("/upload", files=sent, follow_redirects=True, **options)  # type: ignore[arg-type]


def test_the_page_says_what_is_taken_and_what_it_is_not(empty_web: Web) -> None:
    page = empty_web.client.get("/upload").text
    for said in (
        "name burnt into the picture",
        "not a medical device",
        "frontal radiograph",
        "photograph of a screen",
        "no radiograph is shown",
        "each configured destination",
    ):
        assert said in page
    assert 'accept="image/*,.dcm,.zip,application/dicom"' in page
    assert "capture" not in page


def test_the_page_explains_that_no_destination_is_no_fault(tmp_path: Path) -> None:
    with Web(tmp_path / "state", destinations=()).running() as web:
        page = web.client.get("/upload").text
        assert "no-destination" in page
        assert "no fault of the file" in page


def test_only_who_may_upload_sees_the_page(web: Web) -> None:
    radiologist, viewer = web.sign_in(Role.RADIOLOGIST), web.sign_in(Role.VIEWER)
    page = radiologist.get("/upload").text
    assert "The radiograph and the report are on the page of the job." in page
    assert "csrf_token=" in page
    assert viewer.get("/upload").status_code == 403
    assert viewer.post("/upload", files={"files": picture()}).status_code == 403
    for path in ("/upload", "/upload/results?job=0"):
        answer = web.client.get(path)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/sign-in?next=%2Fupload")


def test_a_form_leads_to_a_page_that_names_each_file_and_reloads_until_final(web: Web) -> None:
    page = uploaded(web, ("a.png", picture()), ("notes.txt", b"hello"))
    assert page.status_code == 200
    assert page.url.path == "/upload/results"
    for said in ("a.png", "notes.txt", "waiting to be read", "1 received, 1 not taken"):
        assert said in page.text
    assert 'http-equiv="refresh"' in page.text
    report(web, ["pacs"])
    page = web.client.get(str(page.url))
    assert "present" in page.text
    assert "probability 0.877" in page.text
    assert 'http-equiv="refresh"' in page.text  # its delivery is awaited
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.delivered(delivery, status=0)
    page = web.client.get(str(page.url))
    assert "Every destination has the report." in page.text
    assert 'http-equiv="refresh"' not in page.text


def test_without_a_destination_the_finding_is_shown_and_called_no_error(tmp_path: Path) -> None:
    with Web(tmp_path / "state", destinations=()).running() as web:
        page = uploaded(web, ("a.png", picture()))
        report(web, [])
        page = web.client.get(str(page.url))
        assert "probability 0.877" in page.text
        assert "No PACS is configured" in page.text
        assert "tone-good" in page.text
        assert "tone-alarm" not in page.text
        assert "http-equiv" not in page.text


def test_a_script_gets_the_outcomes_alone_and_follows_them(web: Web, tmp_path: Path) -> None:
    archive = zipped({"a.dcm": part10(make_cr(), tmp_path), "b.txt": b"hello"})
    answer = uploaded(web, ("study.zip", archive), headers=SCRIPT)
    assert answer.status_code == 200
    assert "<html" not in answer.text
    assert "study.zip/a.dcm" in answer.text
    assert "Refused." in answer.text
    (job,) = web.ledger.queries.recent()
    (followed,) = re.findall(r'data-job="(\w+)" data-final="false"', answer.text)
    assert followed == job.id
    answer = web.client.get("/upload/results", params={"job": [job.id, "f" * 32, "<script>"]})
    assert "waiting to be read" in answer.text
    assert "There is no such job" in answer.text
    assert "<script" not in answer.text


def test_a_body_that_is_refused_is_words_for_the_script(empty_web: Web) -> None:
    headers = {"content-type": "multipart/form-data; boundary=cut", **SCRIPT}
    answer = empty_web.client.post("/upload", content=b"nonsense", headers=headers)
    assert answer.status_code == 200
    assert "The multipart body is damaged." in answer.text
    assert "send them once more" in answer.text


def test_at_most_a_hundred_jobs_are_followed_at_once(empty_web: Web) -> None:
    answer = empty_web.client.get("/upload/results", params={"job": ["0" * 32] * 101})
    assert answer.status_code == 422


def test_names_of_files_are_escaped_and_shown_to_their_sender_alone(web: Web) -> None:
    page = uploaded(web, ("<script>alert(1)</script>.png", picture()))
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    web.sign_in(Role.OPERATOR)
    other = web.sign_in(Role.RADIOLOGIST).get(str(page.url))
    assert other.status_code == 404
    assert "not kept any more" in other.text


def test_an_upload_of_a_user_leads_to_the_jobs_page_of_the_radiograph(web: Web) -> None:
    radiologist = web.sign_in(Role.RADIOLOGIST)
    page = radiologist.post("/upload", files={"files": picture()}, follow_redirects=True)
    (job,) = web.ledger.queries.recent()
    assert f'href="/jobs/{job.id}">Radiograph, report and history' in page.text
    (record,) = web.ledger.audit.recent()
    assert (record.action, record.job_id, record.user) == (Action.UPLOAD, job.id, "radiologist")


def test_refused_files_are_audited_without_their_names(empty_web: Web) -> None:
    uploaded(empty_web, ("DOE^JOHN.txt", b"hello"), ("b", b"\x89PNG\r\n\x1a\n"))
    record = empty_web.ledger.audit.recent()[0]
    assert (record.outcome, record.detail["files"]) == (AuditOutcome.FAILURE, 2)
    assert "DOE" not in str(record)


@pytest.mark.parametrize("path", ["/upload", "/api/instances", "/api/v1/instances"])
def test_each_received_job_and_the_refused_files_are_audited_everywhere(
    web: Web, path: str
) -> None:
    contents = (picture(), picture(seed=2), b"hello", picture()[:500])
    web.client.post(path, files=[("files", ("name", each)) for each in contents])
    failure, *successes = web.ledger.audit.recent()
    assert (failure.outcome, failure.detail["files"]) == (AuditOutcome.FAILURE, 2)
    assert {each.outcome for each in successes} == {AuditOutcome.SUCCESS}
    jobs = [each.id for each in web.ledger.queries.recent()]
    assert sorted(str(each.job_id) for each in successes) == sorted(jobs)
    assert len(jobs) == 2
    web.client.post(path, files={"other": b"no file"}, headers={"content-type": "text/plain"})
    refusal, *_ = web.ledger.audit.recent()
    assert (refusal.outcome, refusal.detail["reasons"]) == (AuditOutcome.FAILURE, "415")


def test_a_form_without_a_token_of_the_session_is_refused(web: Web) -> None:
    operator = web.sign_in(Role.OPERATOR)
    del operator.headers["X-CSRF-Token"]
    answer = operator.post("/upload", files={"files": picture()})
    assert answer.status_code == 403
    page = operator.get("/upload").text
    (action,) = re.findall(r'action="(/upload\?csrf_token=[^"]+)"', page)
    assert operator.post(action, files={"files": picture()}).status_code == 303


def test_a_form_may_have_fields_before_its_files(web: Web) -> None:
    body = {"csrf_token": "x" * 70_000, "comment": "y"}
    answer = web.client.post("/upload", data=body, files={"files": picture()})
    assert answer.status_code == 303
    assert len(web.ledger.queries.recent()) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'--cut\r\nContent-Disposition: form-data; name="f"\r\n\r\n\r\n' * 60 + b"--cut--",
        b"--cut\r\nContent-Disposition: " + b"x" * 70_000 + b"\r\n\r\n\r\n--cut--",
    ],
    ids=["too many fields", "a long header"],
)
def test_a_form_of_endless_fields_is_refused(empty_web: Web, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=cut"}
    answer = empty_web.client.post("/upload", content=body, headers=headers)
    assert answer.status_code == 400


def not_analysed(web: Web) -> None:
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.not_analysed(job, Reason.LATERAL)


def parked(web: Web) -> None:
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.park(job, Reason.REPORT_FAILED)


def undelivered(web: Web) -> None:
    report(web, ["pacs"])
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.park(delivery, Reason.DESTINATION_REFUSED, status=0x0122)


def dismissed(web: Web) -> None:
    parked(web)
    web.ledger.jobs.dismiss(web.ledger.queries.recent()[0].id, "a test film")


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        (not_analysed, [EXPLANATIONS[Reason.LATERAL], "Send the frontal view"]),
        (parked, [EXPLANATIONS[Reason.REPORT_FAILED], "nothing has to be sent again"]),
        (undelivered, ["probability 0.877", EXPLANATIONS[Reason.DESTINATION_REFUSED]]),
        (dismissed, ["Closed by a person"]),
    ],
)
def test_every_end_is_said_in_words_with_what_to_do(
    web: Web, end: Callable[[Web], None], shown: list[str]
) -> None:
    page = uploaded(web, ("a.png", picture()))
    end(web)
    page = web.client.get(str(page.url))
    for words in shown:
        assert words.replace("'", "&#39;") in page.text
    assert 'data-final="true"' in page.text


def test_every_reason_has_something_to_do_about_it() -> None:
    assert set(ADVICE) == set(Reason)
    assert all(ADVICE[reason].endswith((".", "?")) for reason in NOT_ANALYSED)


def test_outcomes_are_forgotten_after_an_hour_and_the_oldest_first() -> None:
    now = [0.0]
    recent = RecentUploads(lambda: now[0])
    one = [Uploaded(name="a", result=Receipt(job_id="0" * 32))]
    first = recent.keep("ann", one)
    assert recent.find("ann", first) == one
    assert recent.find("bob", first) is None
    now[0] = 3601
    assert recent.find("ann", first) is None
    tokens = [recent.keep("ann", one * 10_000) for _ in range(3)]
    assert [recent.find("ann", each) is None for each in tokens] == [True, False, False]
