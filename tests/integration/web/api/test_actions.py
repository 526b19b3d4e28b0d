from pathlib import Path

import httpx
import pytest
from support.jobs import CONCLUSION, REPORT, delivered, parked, reported
from support.purged import purge_finished
from support.web_server import Web, picture

from service.domain.audit import Action
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.domain.user import Permission, Role

ADDRESS = "/api/v1/jobs"


def state(web: Web, job_id: str) -> JobState:
    job = web.ledger.queries.job(job_id)
    assert job is not None
    return job.state


def last_action(web: Web) -> tuple[Action, str | None, str]:
    record, *_ = web.ledger.audit.recent()
    return record.action, record.job_id, record.user


def test_a_parked_job_is_requeued(web: Web) -> None:
    job_id = parked(web)
    operator = web.sign_in(Role.OPERATOR)
    answer = operator.post(f"{ADDRESS}/{job_id}/requeue")
    assert (answer.status_code, answer.json()["state"]) == (200, "received")
    assert last_action(web) == (Action.REQUEUE, job_id, "operator")
    assert operator.post(f"{ADDRESS}/{job_id}/requeue").status_code == 409


def test_a_finished_job_is_analysed_again(web: Web) -> None:
    job_id = delivered(web)
    answer = web.sign_in(Role.OPERATOR).post(f"{ADDRESS}/{job_id}/reanalyse")
    assert (answer.status_code, answer.json()["state"]) == (200, "received")
    assert last_action(web) == (Action.REANALYSE, job_id, "operator")


def test_a_job_whose_bytes_are_gone_is_not_analysed_again(web: Web) -> None:
    job_id = delivered(web)
    assert purge_finished(web.ledger) == [job_id]
    answer = web.sign_in(Role.OPERATOR).post(f"{ADDRESS}/{job_id}/reanalyse")
    assert answer.status_code == 409
    assert "bytes" in answer.json()["detail"]


def test_a_parked_job_is_dismissed_with_a_reason(web: Web) -> None:
    job_id = parked(web)
    answer = web.sign_in(Role.OPERATOR).post(
        f"{ADDRESS}/{job_id}/dismiss", json={"reason": "Sent twice by mistake."}
    )
    assert (answer.status_code, answer.json()["state"]) == (200, "dismissed")
    assert last_action(web) == (Action.DISMISS, job_id, "operator")
    assert web.ledger.queries.trace(job_id)[-1].detail["why"] == "Sent twice by mistake."


def test_without_a_destination_a_job_parked_for_that_stays_parked(tmp_path: Path) -> None:
    with Web(tmp_path / "state", destinations=()).running() as web:
        job_id = parked(web, Reason.NO_DESTINATION)
        answer = web.client.post(f"{ADDRESS}/{job_id}/requeue")
        assert answer.status_code == 409
        assert state(web, job_id) is JobState.PARKED


def test_the_sentence_of_a_dismissal_is_for_those_who_may_see_patients_or_operate(
    web: Web,
) -> None:
    job_id = parked(web)
    web.ledger.jobs.dismiss(job_id, "Jane Doe was imaged elsewhere.")
    assert "Jane" not in web.client.get(f"/jobs/{job_id}").text  # open: nobody has signed in
    shown = {}
    for role in (Role.VIEWER, Role.OPERATOR):
        shown[role] = web.sign_in(role).get(f"/api/v1/jobs/{job_id}").text
    _, token = web.ledger.api_tokens.add("viewer", label="list", scopes=[Permission.VIEW])
    only_view = web.program(token)
    for path in (f"/api/v1/jobs/{job_id}", f"/api/jobs/{job_id}"):
        answer = only_view.get(path)
        assert answer.status_code == 200
        assert "dismissed" in answer.text
        assert "Jane" not in answer.text
    assert all("Jane" in text for text in shown.values())


@pytest.mark.parametrize("action", ["requeue", "reanalyse", "dismiss"])
def test_who_may_not_operate_changes_nothing(web: Web, action: str) -> None:
    job_id = parked(web)
    for role in (Role.VIEWER, Role.RADIOLOGIST):
        answer = web.sign_in(role).post(f"{ADDRESS}/{job_id}/{action}", json={"reason": "x"})
        assert answer.status_code == 403
    assert web.client.post(f"{ADDRESS}/{job_id}/{action}").status_code == 401
    without = web.sign_in(Role.OPERATOR)
    del without.headers["X-CSRF-Token"]
    assert without.post(f"{ADDRESS}/{job_id}/{action}").status_code == 403
    assert state(web, job_id) is JobState.PARKED


@pytest.mark.parametrize("action", ["requeue", "reanalyse", "dismiss"])
def test_an_action_on_no_job_is_not_found(quiet_web: Web, action: str) -> None:
    for job_id in ("0" * 32, "0", "%00", "..%2f"):
        answer = quiet_web.client.post(f"{ADDRESS}/{job_id}/{action}", json={"reason": "x"})
        assert answer.status_code == 404


GOOD = b'{"reason": "x"}'


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/json", b"", 400),
        ("application/json", b'{"reason": ', 400),
        ("application/json", b'{"reason": NaN}', 400),
        ("application/json", b"[" * 50_000, 400),
        ("application/json", b'{"reason": "\xff"}', 400),
        ("application/json", b'{"reason": "' + b"x" * 70_000 + b'"}', 413),
        ("application/json", b'{"reason": "' + b"x" * 501 + b'"}', 422),
        ("application/json", b'{"reason": ""}', 422),
        ("application/json", b'{"reason": "\\u0000"}', 422),
        ("application/json", b'{"reason": "\\ud800"}', 422),
        ("application/json", b'{"reason": 7}', 422),
        ("application/json", b'{"why": "x"}', 422),
        ("application/json", b'{"reason": "x", "other": 1}', 422),
        ("application/json", b'["x"]', 422),
        ("application/json", b"1" * 6000, 400),
        ("application/json; charset=latin-1", GOOD, 415),
        ("text/plain", GOOD, 415),
        ("application/x-www-form-urlencoded", b"reason=x", 415),
        ("", GOOD, 415),
        ("application/json; charset", GOOD, 415),
    ],
)
def test_a_body_that_is_not_as_described_is_a_problem(
    quiet_web: Web, content_type: str, content: bytes, status: int
) -> None:
    job_id = parked(quiet_web)
    answer = quiet_web.client.post(
        f"{ADDRESS}/{job_id}/dismiss", content=content, headers={"content-type": content_type}
    )
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.text) < 1000
    assert state(quiet_web, job_id) is JobState.PARKED


def test_a_body_that_is_not_valid_says_where(quiet_web: Web) -> None:
    answer = quiet_web.client.post(
        f"{ADDRESS}/{parked(quiet_web)}/dismiss", json={"reason": 7, "a/b~": 1}
    )
    assert {each["pointer"] for each in answer.json()["errors"]} == {"/reason", "/a~1b~0"}


def verdict(**changes: object) -> dict[str, object]:
    return {"report_uid": REPORT.sop_instance_uid, "opinion": "agree", **changes}


def post_verdict(client: httpx.Client, job_id: str, **changes: object) -> httpx.Response:
    return client.post(f"{ADDRESS}/{job_id}/verdicts", json=verdict(**changes))


def test_a_radiologist_s_verdict_is_kept_with_what_was_judged(web: Web) -> None:
    job_id = reported(web)
    reader = web.sign_in(Role.RADIOLOGIST, "r.reader")
    answer = post_verdict(
        reader, job_id, opinion="disagree", right_finding="absent", comment="Atelectasis.\nOld."
    )
    assert answer.status_code == 201
    told = answer.json()
    assert (told["user"], told["opinion"], told["right_finding"]) == (
        *("r.reader", "disagree"),
        "absent",
    )
    assert (told["finding"], told["probability"]) == (CONCLUSION.finding, CONCLUSION.probability)
    assert last_action(web) == (Action.VERDICT, job_id, "r.reader")
    assert post_verdict(reader, job_id).status_code == 201
    listed = reader.get(f"{ADDRESS}/{job_id}/verdicts").json()["verdicts"]
    assert [each["opinion"] for each in listed] == ["disagree", "agree"]
    assert listed[0] == told


@pytest.mark.parametrize(
    ("changes", "status", "place"),
    [
        ({"report_uid": "2.25.78"}, 404, None),
        ({"report_uid": "2.25.78'--"}, 422, "/report_uid"),
        ({"opinion": "disagree"}, 422, ""),
        ({"opinion": "agree", "right_finding": "absent"}, 422, ""),
        ({"opinion": "disagree", "right_finding": "present"}, 422, None),
        ({"opinion": "disagree", "right_finding": "none"}, 422, "/right_finding"),
        ({"opinion": "AGREE"}, 422, "/opinion"),
        ({"comment": "x" * 2001}, 422, "/comment"),
        ({"comment": "\0"}, 422, "/comment"),
        ({"user": "somebody.else"}, 422, "/user"),
    ],
)
def test_a_verdict_that_does_not_hold_together_is_refused(
    web: Web, changes: dict[str, object], status: int, place: str | None
) -> None:
    job_id = reported(web)
    answer = post_verdict(web.sign_in(Role.RADIOLOGIST), job_id, **changes)
    assert answer.status_code == status
    assert [each["pointer"] for each in answer.json().get("errors", [])] == (
        [] if place is None else [place]
    )
    assert web.ledger.verdicts.of_job(job_id) == []


def test_a_verdict_is_a_radiologist_s(web: Web) -> None:
    job_id = reported(web)
    assert post_verdict(web.client, job_id).status_code == 403
    for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
        assert post_verdict(web.sign_in(role), job_id).status_code == 403
    assert web.sign_in(Role.OPERATOR).get(f"{ADDRESS}/{job_id}/verdicts").status_code == 403
    assert web.ledger.verdicts.of_job(job_id) == []


def test_files_are_uploaded_and_each_has_its_outcome(web: Web) -> None:
    files = [
        ("files", ("a.png", picture(), "image/png")),
        ("files", ("notes.txt", b"hello", "text/plain")),
    ]
    answer = web.client.post("/api/v1/instances", files=files)
    taken, refused = answer.json()["instances"]
    assert answer.status_code == 207
    assert web.ledger.jobs.exists(taken["job_id"])
    assert (taken["repeated"], taken["problem"]) == (False, None)
    assert (refused["job_id"], refused["problem"]["status"]) == (None, 415)
    again = web.client.post("/api/v1/instances", files=files[:1])
    assert (again.status_code, again.json()["instances"][0]["repeated"]) == (200, True)
    assert web.client.post("/api/v1/instances", files=files[1:]).status_code == 415


@pytest.mark.parametrize("path", ["/api/v1", "/api/v1/nothing", "/api/v2/jobs"])
def test_an_unknown_address_is_a_problem(quiet_web: Web, path: str) -> None:
    answer = quiet_web.client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/jobs", "GET"),
        (f"/api/v1/jobs/{'0' * 32}/verdicts", "GET, POST"),
        ("/api/v1/instances", "POST"),
    ],
)
def test_another_method_is_refused_with_those_that_are_there(
    quiet_web: Web, path: str, allowed: str
) -> None:
    answer = quiet_web.client.delete(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.headers["content-type"] == "application/problem+json"
