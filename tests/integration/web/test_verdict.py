"""A radiologist's verdict on a report, and the table of all."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta

import httpx
from support.reported_job import deliver, receive, report
from support.web_server import Web
from synthetic.report_sources import MODEL, predicted

from service.domain.audit import Action
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.domain.user import Role
from service.domain.verdict import LONGEST_COMMENT, Opinion
from service.web.verdicts.table import COLUMNS
from workers.prediction import Finding, NotAnalysed
from workers.reporting.uids import OutputIdentity

JANE = Patient(patient_name="Doe^Jane", patient_id="PID-4711", birth_date="20230115")


def reported(web: Web, finding: Finding = Finding.PRESENT) -> tuple[str, str]:
    """A job with a report, and the report's SOP Instance UID."""
    job_id = receive(web, JANE)
    return job_id, report(web, job_id, predicted(finding))


def judge(client: httpx.Client, job_id: str, uid: str, **fields: str) -> httpx.Response:
    return client.post(f"/jobs/{job_id}/verdict", data={"report_uid": uid, **fields})


def table(client: httpx.Client, **params: str) -> list[dict[str, str]]:
    answer = client.get("/verdicts.csv", params=params)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def counted(web: Web, opinion: str, finding: str) -> float:
    found = re.search(
        rf'^lobar_verdicts_total{{finding="{finding}",opinion="{opinion}"}} (\S+)$',
        web.client.get("/metrics").text,
        re.MULTILINE,
    )
    assert found is not None
    return float(found[1])


def test_a_radiologist_disagrees_and_everybody_who_looks_sees_it(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST, "rita")
    shown = radiologist.get(f"/jobs/{job_id}").text
    assert f'name="report_uid" value="{uid}"' in shown
    assert '<option value="absent">' in shown
    assert '<option value="present">' not in shown
    before = counted(web, "disagree", "present")
    answer = judge(
        radiologist,
        job_id,
        uid,
        opinion="disagree",
        right_finding="absent",
        comment="a <i>skin fold</i>\r\nof the left",
    )
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        f"/jobs/{job_id}?done=judged#verdict",
    )
    (verdict,) = web.ledger.verdicts.of_job(job_id)
    assert (verdict.opinion, verdict.right_finding) == (Opinion.DISAGREE, "absent")
    assert verdict.comment == "a <i>skin fold</i>\nof the left"
    assert counted(web, "disagree", "present") == before + 1
    newest = web.ledger.audit.recent(1)[0]
    assert (newest.action, newest.user, newest.job_id) == (Action.VERDICT, "rita", job_id)
    assert "skin fold" not in str(newest.detail)
    viewer = web.sign_in(Role.VIEWER).get(f"/jobs/{job_id}").text
    assert "a &lt;i&gt;skin fold&lt;/i&gt;" in viewer
    assert "<em>rita</em> disagrees:" in viewer
    assert "Verdict: disagrees with the report: absent, not present" in viewer
    operator = web.sign_in(Role.OPERATOR).get(f"/jobs/{job_id}").text
    assert "skin fold" not in operator
    assert "it may name the patient" in operator


def test_the_latest_of_a_person_counts_and_the_earlier_ones_stay(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST)
    for opinion in ("unsure", "agree"):
        assert judge(radiologist, job_id, uid, opinion=opinion).status_code == 303
    shown = radiologist.get(f"/jobs/{job_id}").text
    assert shown.count("replaced by a later one of the same person") == 1
    assert [row["opinion"] for row in table(radiologist)] == ["agree"]


def test_a_report_that_was_replaced_since_the_page_was_opened_is_not_judged(web: Web) -> None:
    job_id, first = reported(web, Finding.ABSENT)
    deliver(web)
    web.ledger.jobs.reanalyse(job_id)
    second = report(web, job_id, predicted(), identity=OutputIdentity(digest="b" * 64))
    assert first != second
    radiologist = web.sign_in(Role.RADIOLOGIST)
    answer = judge(radiologist, job_id, first, opinion="agree")
    assert answer.status_code == 409
    assert "replaced by another since the page was opened" in answer.text
    assert web.ledger.verdicts.of_job(job_id) == []
    assert judge(radiologist, job_id, second, opinion="agree").status_code == 303


def test_a_report_of_no_job_or_of_another_is_not_judged(web: Web) -> None:
    job_id, _ = reported(web)
    other = receive(web, JANE)
    of_another = report(web, other, predicted(), identity=OutputIdentity(digest="b" * 64))
    radiologist = web.sign_in(Role.RADIOLOGIST)
    for uid in ("", "1.2.3", "'; drop table verdicts", "2.25.1\x00", "9" * 5000, of_another):
        answer = judge(radiologist, job_id, uid, opinion="agree")
        assert answer.status_code == 404
        assert "There is no such report of this job." in answer.text
    assert judge(radiologist, "f" * 32, of_another, opinion="agree").status_code == 404
    assert web.ledger.verdicts.latest() == []


def test_a_verdict_that_says_nothing_or_contradicts_itself_is_refused(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST)
    refused: list[tuple[dict[str, str], str]] = [
        ({}, "Say whether you agree, disagree or are unsure."),
        ({"opinion": "maybe"}, "Say whether you agree, disagree or are unsure."),
        ({"opinion": "disagree"}, "Who disagrees says what is right"),
        ({"opinion": "disagree", "right_finding": "present"}, "The report says present too"),
        ({"opinion": "disagree", "right_finding": "normal"}, "Who disagrees says what is right"),
        ({"opinion": "agree", "comment": "x" * (LONGEST_COMMENT + 1)}, "2,000 characters"),
    ]
    for fields, complaint in refused:
        answer = judge(radiologist, job_id, uid, **fields)
        assert answer.status_code == 422
        assert complaint in answer.text
    assert web.ledger.verdicts.of_job(job_id) == []


def test_what_is_left_in_the_select_of_who_no_longer_disagrees_is_not_recorded(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST)
    answer = judge(radiologist, job_id, uid, opinion="agree", right_finding="absent")
    assert answer.status_code == 303
    (verdict,) = web.ledger.verdicts.of_job(job_id)
    assert (verdict.opinion, verdict.right_finding) == (Opinion.AGREE, None)


def test_a_refused_verdict_keeps_what_was_typed_on_the_same_page(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST)
    words = "left lower <lobe>"
    answer = judge(radiologist, job_id, uid, opinion="disagree", comment=words)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert "Who disagrees says what is right" in answer.text
    assert f"Job {job_id[:8]}" in answer.text
    assert 'value="disagree" required checked' in answer.text
    assert "left lower &lt;lobe&gt;</textarea>" in answer.text
    answer = judge(radiologist, job_id, uid, right_finding="absent", comment="\n" + words)
    assert '<option value="absent" selected>' in answer.text
    assert " checked>" not in answer.text[answer.text.index('id="verdict-form"') :]
    assert 'role="alert"' not in radiologist.get(f"/jobs/{job_id}").text


def test_a_verdict_on_a_replaced_report_keeps_the_comment_alone(web: Web) -> None:
    job_id, first = reported(web, Finding.ABSENT)
    deliver(web)
    web.ledger.jobs.reanalyse(job_id)
    second = report(web, job_id, predicted(), identity=OutputIdentity(digest="b" * 64))
    radiologist = web.sign_in(Role.RADIOLOGIST)
    answer = judge(radiologist, job_id, first, opinion="agree", comment="clear")
    assert answer.status_code == 409
    assert f'name="report_uid" value="{second}"' in answer.text
    assert "clear</textarea>" in answer.text
    assert 'value="agree" required>' in answer.text


def test_a_program_gets_a_problem_of_a_refused_verdict(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST)
    radiologist.headers["Accept"] = "application/problem+json"
    answer = judge(radiologist, job_id, uid, opinion="disagree")
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_instance_without_a_finding_has_no_form_and_takes_no_verdict(web: Web) -> None:
    job_id = receive(web, JANE)
    uid = report(web, job_id, NotAnalysed(reason=Reason.NOT_CHEST, model=MODEL))
    radiologist = web.sign_in(Role.RADIOLOGIST)
    assert "verdict-form" not in radiologist.get(f"/jobs/{job_id}").text
    assert judge(radiologist, job_id, uid, opinion="agree").status_code == 422


def test_only_a_radiologist_judges_and_only_with_the_token_of_the_session(web: Web) -> None:
    job_id, uid = reported(web)
    assert judge(web.client, job_id, uid, opinion="agree").status_code == 403
    for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN):
        client = web.sign_in(role)
        assert "verdict-form" not in client.get(f"/jobs/{job_id}").text
        assert judge(client, job_id, uid, opinion="agree").status_code == 403
    radiologist = web.sign_in(Role.RADIOLOGIST)
    del radiologist.headers["X-CSRF-Token"]
    assert judge(radiologist, job_id, uid, opinion="agree").status_code == 403
    (token,) = set(
        re.findall(r'name="csrf_token" value="([^"]+)"', radiologist.get(f"/jobs/{job_id}").text)
    )
    answer = judge(radiologist, job_id, uid, opinion="agree", csrf_token=token)
    assert answer.status_code == 303


def test_a_form_that_is_being_filled_in_is_not_reloaded(web: Web) -> None:
    job_id, _ = reported(web)
    assert 'http-equiv="refresh"' in web.client.get(f"/jobs/{job_id}").text
    assert 'http-equiv="refresh"' not in web.sign_in(Role.RADIOLOGIST).get(f"/jobs/{job_id}").text


def test_the_table_has_what_retraining_needs_and_nothing_about_the_patient(web: Web) -> None:
    job_id, uid = reported(web)
    one, other = web.sign_in(Role.RADIOLOGIST, "rita"), web.sign_in(Role.RADIOLOGIST, "rolf")
    judge(one, job_id, uid, opinion="disagree", right_finding="absent", comment="Jane Doe moved")
    judge(other, job_id, uid, opinion="agree")
    judge(one, job_id, uid, opinion="unsure", comment="Jane Doe moved")
    rows = table(other)
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["reader"], row["opinion"]) for row in rows] == [
        ("reader-2", "agree"),
        ("reader-1", "unsure"),
    ]
    (job,) = web.ledger.queries.recent()
    for row in rows:
        assert (row["digest"], row["sop_instance_uid"]) == (job.digest, job.sop_instance_uid)
        assert (row["finding"], row["probability"]) == ("present", "0.8732145")
        assert (row["operating_point"], row["model"]) == ("balanced", "lobar_pneumonia 1.2.3")
        assert datetime.fromisoformat(row["time"]).tzinfo == UTC
    written = other.get("/verdicts.csv").text
    for secret in ("rita", "rolf", "Doe", "PID-4711", "moved"):
        assert secret not in written
    newest = web.ledger.audit.recent(1)[0]
    assert (newest.action, newest.user) == (Action.EXPORT, "rolf")


def test_comments_are_in_the_table_for_who_asks_and_may_see_patients(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST)
    judge(radiologist, job_id, uid, opinion="unsure", comment="=1+1\nsecond line")
    assert [row["comment"] for row in table(radiologist, comments="true")] == ["'=1+1\nsecond line"]
    operator = web.sign_in(Role.OPERATOR)
    assert table(operator)
    assert operator.get("/verdicts.csv?comments=true").status_code == 403
    assert web.sign_in(Role.VIEWER).get("/verdicts.csv").status_code == 403


def test_the_table_begins_at_a_day_or_a_moment(web: Web) -> None:
    job_id, uid = reported(web)
    radiologist = web.sign_in(Role.RADIOLOGIST)
    judge(radiologist, job_id, uid, opinion="agree")
    now = datetime.now(UTC)
    assert len(table(radiologist, since=(now - timedelta(days=1)).date().isoformat())) == 1
    assert table(radiologist, since=(now + timedelta(hours=1)).isoformat()) == []
    for wrong in ("yesterday", "9" * 400, "0000-00-00"):
        answer = radiologist.get("/verdicts.csv", params={"since": wrong})
        assert answer.status_code == 422
        assert "no day or moment" in answer.text


def test_a_table_of_many_pages_has_every_verdict_once(web: Web) -> None:
    job_id, uid = reported(web)
    for number in range(1203):
        web.ledger.verdicts.record(
            job_id, report_uid=uid, user=f"reader {number}", opinion=Opinion.AGREE
        )
    rows = table(web.sign_in(Role.RADIOLOGIST))
    assert len(rows) == len({row["reader"] for row in rows}) == 1203
