import time
from typing import Any

import pytest
from sqlalchemy import update
from support.jobs import REPORT, delivered, parked, reported
from support.reported_job import receive
from support.web_server import Web

from service.domain.audit import Action
from service.domain.evidence import AttentionMap, Evidence, Region
from service.domain.patient import Patient
from service.domain.user import Role
from service.storage.ledger import Position
from service.storage.ledger.instance.evidence import record_evidence
from service.storage.ledger.instance.patients import record_patients
from service.storage.ledger.tables import JOBS
from service.web.api.paging import cursor_of, position_of

ADDRESS = "/api/v1/jobs"
EVIDENCE = Evidence(
    region=Region(top=0.1, left=0.2, bottom=0.3, right=0.4),
    attention=AttentionMap(rows=1, columns=2, values=(0.5, 1)),
)


def ids(answer: dict[str, Any]) -> list[str]:
    return [job["id"] for job in answer["jobs"]]


def test_pages_follow_each_other_and_new_jobs_in_between_repeat_nothing(web: Web) -> None:
    expected = [web.receive() for _ in range(5)][::-1]
    first = web.client.get(ADDRESS, params={"limit": 2, "state": "received"})
    assert first.headers["link"] == f'<{first.json()["next"]}>; rel="next"'
    web.receive()
    second = web.client.get(first.json()["next"]).json()
    third = web.client.get(second["next"])
    assert ids(first.json()) + ids(second) + ids(third.json()) == expected
    assert third.json()["next"] is None
    assert "link" not in third.headers


def test_jobs_of_one_moment_are_each_on_one_page(web: Web) -> None:
    expected = sorted(web.receive() for _ in range(4))
    with web.ledger._database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET received_at = 1000.125")
    seen: list[str] = []
    following: str | None = f"{ADDRESS}?limit=1"
    while following is not None:
        page = web.client.get(following).json()
        seen += ids(page)
        following = page["next"]
    assert seen == expected


def test_every_filter_leaves_out_what_it_does_not_mean(web: Web) -> None:
    wanted, other = reported(web), web.receive()
    job = web.ledger.queries.job(wanted)
    assert job is not None
    with web.ledger._database.write() as connection:
        values = {"calling_ae_title": "CR 2", "received_at": 2000}
        connection.execute(update(JOBS).where(JOBS.c.id == wanted).values(values))
    for query in (
        {"state": "reported"},
        {"finding": "present"},
        {"calling_ae_title": "CR 2"},
        {"until": "2000.5"},
        {"study_instance_uid": job.study_instance_uid},
        {"series_instance_uid": job.series_instance_uid},
        {"sop_instance_uid": job.sop_instance_uid},
        {"state": "reported", "finding": "present", "since": "2000"},
    ):
        assert ids(web.client.get(ADDRESS, params=query).json()) == [wanted], query
    assert ids(web.client.get(ADDRESS, params={"since": "2000.1"}).json()) == [other]
    assert ids(web.client.get(ADDRESS, params={"until": "2000"}).json()) == []


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("state=lost", "state"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("since=nan", "since"),
        ("until=1e300", "until"),
        ("since=", "since"),
        ("finding=maybe", "finding"),
        ("study_instance_uid=1.2'--", "study_instance_uid"),
        ("calling_ae_title=%00", "calling_ae_title"),
        ("finnding=present", "finnding"),
        ("cursor=" + "A" * 20, "cursor"),
        ("cursor=%2F", "cursor"),
        ("cursor=" + "A" * 10_000, "cursor"),
    ],
)
def test_a_parameter_that_is_not_valid_is_named(quiet_web: Web, query: str, parameter: str) -> None:
    answer = quiet_web.client.get(f"{ADDRESS}?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [each["parameter"] for each in answer.json()["errors"]] == [parameter]
    assert len(answer.text) < 2000


def test_a_cursor_is_read_as_it_was_written() -> None:
    position = Position(1795910400.1234567, "0123456789abcdef" * 2)
    assert position_of(cursor_of(position)) == position


def test_one_job_is_told_whole_and_looking_is_recorded(web: Web) -> None:
    job_id = delivered(web)
    told = web.client.get(f"{ADDRESS}/{job_id}").json()
    assert (told["job"]["state"], told["job"]["finding"]) == ("delivered", "present")
    assert told["operating_point"] == {
        "name": "screening",
        "threshold": 0.5,
        "indeterminate_low": 0.4,
        "indeterminate_high": 0.6,
    }
    assert [each["sop_instance_uid"] for each in told["outputs"]] == [REPORT.sop_instance_uid]
    assert [each["destination"] for each in told["deliveries"]] == ["pacs"]
    assert told["trace"][0]["name"] == "received"
    record, *_ = web.ledger.audit.recent()
    assert (record.action, record.job_id) == (Action.VIEW, job_id)


def test_a_digest_is_given_as_a_sha256_only_where_it_is_one(web: Web) -> None:
    of_now, at_first = "blake3:" + "9f" * 28, "9f" * 32
    for digest, sha256 in ((of_now, None), (at_first, at_first)):
        job_id = receive(web, digest=digest)
        job = web.client.get(f"{ADDRESS}/{job_id}").json()["job"]
        assert (job["digest"], job["sha256"]) == (digest, sha256)
        assert f'<dd class="id">{digest}</dd>' in web.client.get(f"/jobs/{job_id}").text


def test_only_who_may_see_patients_is_told_the_patient(web: Web) -> None:
    job_id = web.receive()
    with web.ledger._database.write() as connection:
        record_patients(connection, {job_id: Patient(patient_name="Doe^Jane", patient_id="P-1")})
        record_evidence(connection, job_id, EVIDENCE)
    open_answer = web.client.get(f"{ADDRESS}/{job_id}")
    assert open_answer.json()["patient"] is open_answer.json()["evidence"] is None
    assert "Doe" not in open_answer.text
    assert web.sign_in(Role.OPERATOR).get(f"{ADDRESS}/{job_id}").json()["patient"] is None
    told = web.sign_in(Role.VIEWER).get(f"{ADDRESS}/{job_id}").json()
    assert told["evidence"]["region"] == {"top": 0.1, "left": 0.2, "bottom": 0.3, "right": 0.4}
    assert told["evidence"]["attention"] == {"rows": 1, "columns": 2, "values": [0.5, 1]}
    seen = told["patient"]
    assert (seen["name"], seen["id"], seen["accession_number"]) == ("Doe^Jane", "P-1", "")


def test_an_output_is_fetched_as_dicom_and_recorded(web: Web) -> None:
    job_id = reported(web)
    web.spool.put_output(job_id, "sr", REPORT.sop_instance_uid, b"the report")
    address = f"{ADDRESS}/{job_id}/outputs/sr"
    assert web.client.get(address).status_code == 403
    assert web.sign_in(Role.OPERATOR).get(address).status_code == 403
    answer = web.sign_in(Role.VIEWER).get(address)
    assert (answer.status_code, answer.content) == (200, b"the report")
    assert answer.headers["content-type"] == "application/dicom"
    assert answer.headers["content-disposition"] == f'attachment; filename="{job_id}-sr.dcm"'
    record, *_ = web.ledger.audit.recent()
    assert (record.action, record.detail) == (Action.DOWNLOAD, {"kind": "sr"})


@pytest.mark.parametrize("kind", ["pdf", "%2e%2e%2fsr", "sr%00", "S" * 5000])
def test_an_output_that_is_not_there_is_not_found(web: Web, kind: str) -> None:
    viewer = web.sign_in(Role.VIEWER)
    job_id = reported(web)
    web.spool.put_output(job_id, "sr", REPORT.sop_instance_uid, b"the report")
    assert viewer.get(f"{ADDRESS}/{job_id}/outputs/{kind}").status_code == 404


def test_an_output_that_retention_removed_is_gone(web: Web) -> None:
    job_id = reported(web)
    answer = web.sign_in(Role.VIEWER).get(f"{ADDRESS}/{job_id}/outputs/sr")
    assert answer.status_code == 410
    assert "keep_days" in answer.json()["detail"]


@pytest.mark.parametrize("job_id", ["0" * 32, "0", "%00", "..%2f..", "A" * 5000, "'--"])
@pytest.mark.parametrize("rest", ["", "/outputs/sr", "/verdicts"])
def test_what_is_no_job_is_not_found(web: Web, job_id: str, rest: str) -> None:
    answer = web.sign_in(Role.ADMIN).get(f"{ADDRESS}/{job_id}{rest}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_status_counts_what_the_ledger_holds(web: Web) -> None:
    parked(web)
    delivered(web)
    web.receive()
    status = web.client.get("/api/v1/status").json()
    assert (status["received"], status["balance"], status["in_flight"]) == (3, 0, 1)
    assert (status["jobs"]["delivered"], status["jobs"]["parked"]) == (1, 1)
    assert status["parked"] == {"report-failed": 1}
    assert status["due"]["infer"] == 1
    assert status["deliveries"] == [{"destination": "pacs", "state": "delivered", "count": 1}]


def test_the_identity_is_nobody_s_until_there_is_a_user(web: Web) -> None:
    me = web.client.get("/api/v1/me").json()
    assert (me["name"], me["role"], me["signed_in_by"]) == ("", None, "open")
    assert "patient" not in me["permissions"]
    signed_in = web.sign_in(Role.RADIOLOGIST, "r.reader").get("/api/v1/me").json()
    assert (signed_in["name"], signed_in["role"]) == ("r.reader", "radiologist")
    assert {"patient", "verdict"} <= set(signed_in["permissions"])
    answer = web.client.get("/api/v1/me")
    assert (answer.status_code, answer.json()["detail"]) == (401, "Sign in first.")


def test_the_audit_trail_is_listed_page_by_page_for_an_administrator_only(web: Web) -> None:
    job_id = web.receive()
    admin = web.sign_in(Role.ADMIN)
    for _ in range(3):
        admin.get(f"{ADDRESS}/{job_id}")
    first = admin.get("/api/v1/audit", params={"limit": 2}).json()
    second = admin.get(first["next"]).json()
    actions = [(each["action"], each["job_id"]) for each in first["records"] + second["records"]]
    assert actions == [("view", None), *[("view", job_id)] * 3][: len(actions)]
    assert first["records"][0]["user"] == "admin"
    for role in (Role.VIEWER, Role.RADIOLOGIST, Role.OPERATOR):
        assert web.sign_in(role).get("/api/v1/audit").status_code == 403


@pytest.mark.parametrize("path", ["/api/jobs", "/api/jobs/{}"])
def test_the_old_addresses_still_answer_and_say_that_they_are_deprecated(
    web: Web, path: str
) -> None:
    job_id = web.receive()
    answer = web.client.get(path.format(job_id))
    assert answer.status_code == 200
    kind, moment = answer.headers["deprecation"][0], int(answer.headers["deprecation"][1:])
    assert kind == "@"  # RFC 9745: a date as in RFC 9651
    assert 0 < moment <= time.time() + 86400
    successor = path.format(job_id).replace("/api/", "/api/v1/")
    assert answer.headers["link"] == f'<{successor}>; rel="successor-version"'
    assert web.client.get(successor).status_code == 200
