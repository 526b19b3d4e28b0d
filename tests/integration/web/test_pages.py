import re
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest
from support.routes import to
from support.web_server import Web, part10
from synthetic.objects import make_cr

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, OtherAbnormality, Revision
from service.domain.reasons import Reason
from service.domain.user import Role
from service.web.problem_words import sentence

REPORT = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.77"
)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.87654, operating_point="screening", model="pneumonia 1.2"
)


ABNORMAL = replace(
    CONCLUSION,
    finding="absent",
    probability=0.03211,
    other=OtherAbnormality(finding="present", probability=0.91234, operating_point="sensitive"),
    population="school_children",
)


def parked(web: Web) -> str:
    job_id = web.receive()
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.park(job, Reason.REPORT_FAILED)
    return job_id


def reported(web: Web, conclusion: ConclusionRecord = CONCLUSION) -> str:
    job_id = web.receive()
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.report(job, conclusion, [REPORT], to(["pacs"]))
    return job_id


def delivered(web: Web) -> str:
    job_id = reported(web)
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.delivered(delivery, status=0)
    return job_id


def test_the_first_page_shows_state_finding_and_probability(web: Web) -> None:
    job_id = delivered(web)
    page = web.client.get("/").text
    for shown in (job_id[:8], "Delivered", "present", "0.877"):
        assert shown in page
    assert f'href="/jobs/{job_id}"' in page


def test_the_api_gives_the_other_abnormality_or_null(web: Web) -> None:
    told = web.client.get(f"/api/jobs/{reported(web, ABNORMAL)}").json()["job"]
    assert (told["finding"], told["population"]) == ("absent", "school_children")
    assert told["other_abnormality"] == {
        "finding": "present",
        "probability": 0.91234,
        "operating_point": "sensitive",
    }
    without = web.client.get(f"/api/jobs/{reported(web)}").json()["job"]
    assert without["other_abnormality"] is without["population"] is None


def every_page(web: Web, job_id: str) -> list[httpx.Response]:
    paths = ("/", f"/jobs/{job_id}", "/find?q=1.2.3", "/nothing", "/?state=none", "/api/jobs")
    return [web.client.get(path) for path in (*paths, f"/api/jobs/{job_id}", "/metrics")]


def test_no_page_names_the_patient(web: Web, tmp_path: Path) -> None:
    dataset = make_cr(patient_name="Geheim^Jane")
    dataset.PatientID, dataset.AccessionNumber = "GEHEIM-1", "GEHEIM-2"
    dataset.InstitutionName = "Geheim"
    answer = web.send(part10(dataset, tmp_path), name="Geheim^Jane.dcm")
    job_id = answer.json()["instances"][0]["job_id"]
    assert "geheim" not in "".join(page.text for page in every_page(web, job_id)).lower()


def test_no_page_loads_anything_from_another_host_or_runs_an_inline_script(web: Web) -> None:
    for page in every_page(web, parked(web)):
        assert not re.search(r"""(src|href|action)=["'](https?:)?//""", page.text)
        assert len(re.findall("<script", page.text)) == len(
            re.findall(
                r'<script (?:type="module" )?src="/static/[^"]+"[^>]*></script>',
                page.text,
            )
        )
        assert not re.search(r"<[^>]+\s(?:on[a-z]+|style)=", page.text)
    assert web.client.get("/docs").status_code == 404
    assert web.client.get("/static/lobar.css").status_code == 200


def test_the_api_gives_jobs_page_by_page_and_one_with_its_trace(web: Web) -> None:
    ids = [web.receive() for _ in range(5)]
    first = web.client.get("/api/jobs", params={"limit": 3, "state": "received"}).json()
    second = web.client.get(first["next"]).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next"] is None
    detail = web.client.get(f"/api/jobs/{ids[0]}").json()
    assert detail["job"]["state"] == "received"
    assert [event["name"] for event in detail["trace"]] == ["received"]
    assert (detail["deliveries"], detail["outputs"]) == ([], [])


@pytest.mark.parametrize("query", ["state=lost", "limit=0", "limit=1000000", "before=nan"])
def test_an_invalid_query_is_a_problem(empty_web: Web, query: str) -> None:
    answer = empty_web.client.get(f"/api/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["title"] == "Unprocessable Entity"
    assert query.partition("=")[0] in answer.json()["detail"]


def revised(web: Web) -> str:
    """A job whose second report replaced its first."""
    job_id = delivered(web)
    for number, uid in enumerate(("2.25.77", "2.25.78")):
        web.ledger.jobs.reanalyse(job_id)
        (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
        output = replace(REPORT, sop_instance_uid=uid)
        revision = Revision(
            job_id=job_id,
            sop_class_uid=REPORT.sop_class_uid,
            sop_instance_uid=uid,
            series_instance_uid="2.25.1",
            predecessor=None,
            dated_at=float(number),
        )
        web.ledger.jobs.report(job, CONCLUSION, [output], to(["pacs"]), revision=revision)
        for each in web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60):
            web.ledger.deliveries.delivered(each, status=0)
    return job_id


def test_the_api_gives_the_revisions_of_a_job(web: Web) -> None:
    job_id = revised(web)
    told = web.client.get(f"/api/jobs/{job_id}").json()
    assert [each["sop_instance_uid"] for each in told["revisions"]] == ["2.25.77", "2.25.78"]


def test_a_job_is_found_by_a_report_that_was_replaced(web: Web) -> None:
    job_id = revised(web)
    found = web.client.get("/find", params={"q": "2.25.77"}, follow_redirects=False)
    assert found.headers["location"] == f"/jobs/{job_id}"


def main_of(answer: httpx.Response) -> str:
    """Return what a page says between its navigation and its footer."""
    return answer.text[answer.text.index("<main") : answer.text.index("</main>")]


def test_a_wrong_address_is_said_once_and_leads_to_the_worklist(empty_web: Web) -> None:
    page = main_of(empty_web.client.get("/nothing"))
    assert "<h1>There is no such page</h1>" in page
    assert "Not Found" not in page
    assert '<a href="/">Worklist</a>' in page
    assert "/sign-in" not in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("weeks=105", "weeks: at most 104"),
        ("weeks=0", "weeks: at least 1"),
        ("weeks=x", "weeks: must be a whole number"),
        ("by=year", "by: must be"),
        (f"ae={'A' * 17}", "ae: at most 16 characters"),
        ("model=%00", "model: has characters that it may not have"),
    ],
)
def test_what_cannot_be_used_is_said_in_plain_words(
    empty_web: Web, query: str, sentence: str
) -> None:
    answer = empty_web.client.get(f"/quality?{query}")
    assert answer.status_code == 422
    assert "<h1>This cannot be used as it is</h1>" in answer.text
    assert sentence in main_of(answer)
    for english_of_pydantic in ("Input should", "String should", "unable to parse"):
        assert english_of_pydantic not in answer.text
    program = empty_web.client.get(
        f"/quality?{query}", headers={"Accept": "application/problem+json"}
    )
    assert program.json()["title"] == "Unprocessable Entity"
    assert "should" in program.json()["detail"]


def test_what_needs_a_user_leads_to_the_sign_in_while_there_is_none(web: Web) -> None:
    answer = web.client.get("/users")
    assert answer.status_code == 403
    assert "<h1>Not for your role</h1>" in answer.text
    assert '<a href="/sign-in">Sign in</a>' in main_of(answer)
    assert "<code>lobar user add" in main_of(answer)
    assert "/sign-in" not in main_of(web.sign_in(Role.VIEWER).get("/users"))


def test_words_in_backticks_are_code_and_everything_is_escaped() -> None:
    status = HTTPStatus.FORBIDDEN
    assert sentence("Run `a <b>` & see", status) == "Run <code>a &lt;b&gt;</code> &amp; see"
    assert sentence("Not for your role.", status) == sentence("Forbidden", status) == ""


def test_the_page_about_the_api_begins_with_a_token(web: Web) -> None:
    page = web.client.get("/api").text
    assert "lobar user add" in page
    assert '<a href="/api" aria-current="page">API</a>' in page
    page = web.sign_in(Role.VIEWER).get("/api").text
    assert 'href="/account"' in main_of(web.sign_in(Role.VIEWER).get("/api"))
    assert page.count(f"http://127.0.0.1:{web.port}/api/v1/") == 3
    assert 'href="/api/openapi.json"' in page
    for path in ("/docs", "/api/docs"):
        assert web.client.get(path).status_code == 404
