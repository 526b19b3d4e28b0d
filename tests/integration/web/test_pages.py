import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from support.routes import to
from support.web_server import Web, part10
from synthetic.objects import make_cr

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, JobState, OtherAbnormality, Revision
from service.domain.reasons import Reason

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


@pytest.mark.parametrize("other", ["present", "absent", "indeterminate"])
@pytest.mark.parametrize("finding", ["present", "absent", "indeterminate"])
def test_the_job_shows_both_findings(web: Web, finding: str, other: str) -> None:
    read = OtherAbnormality(finding=other, probability=0.91234, operating_point="sensitive")
    job_id = reported(web, replace(ABNORMAL, finding=finding, other=read))
    badge = '<span class="badge finding-{0}">{0}</span>'
    page = web.client.get(f"/jobs/{job_id}").text
    assert f"<dt>Pneumonia</dt><dd>{badge.format(finding)}</dd>" in page
    assert f"<dt>Other abnormality</dt><dd>{badge.format(other)}</dd>" in page
    for shown in ("0.032", "0.912", "sensitive", "<dt>Population</dt><dd>school_children</dd>"):
        assert shown in page


def test_a_job_whose_model_reads_pneumonia_alone_shows_that_alone(web: Web) -> None:
    page = web.client.get(f"/jobs/{reported(web)}").text
    assert "Other abnormality" not in page
    assert "Population" not in page


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


def test_a_job_shows_its_deliveries_statuses_and_trace(web: Web) -> None:
    job_id = reported(web)
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.refused(delivery, status=0xA700, again_in=60)
    page = web.client.get(f"/jobs/{job_id}").text
    assert "0xA700 Failure: Refused: Out of Resources" in page
    for shown in ("pacs", "pending", "leased", "output-refused", "2.25.77", "MODALITY"):
        assert shown in page
    assert 'http-equiv="refresh"' in page


def test_a_finished_job_does_not_reload_itself(web: Web) -> None:
    assert 'http-equiv="refresh"' not in web.client.get(f"/jobs/{delivered(web)}").text


def test_a_parked_job_says_why_and_can_be_requeued(web: Web) -> None:
    job_id = parked(web)
    page = web.client.get(f"/jobs/{job_id}").text
    assert "No valid report could be built for this instance." in page
    assert f'action="/jobs/{job_id}/requeue"' in page
    answer = web.client.post(f"/jobs/{job_id}/requeue")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    job = web.ledger.queries.job(job_id)
    assert job is not None
    assert job.state is JobState.RECEIVED


def test_a_job_that_is_not_parked_cannot_be_requeued(web: Web) -> None:
    job_id = delivered(web)
    assert web.client.post(f"/jobs/{job_id}/requeue").status_code == 409
    assert "/requeue" not in web.client.get(f"/jobs/{job_id}").text


@pytest.mark.parametrize(
    "job_id", ["0123456789abcdef" * 2, "0", "%00", "..%2f..%2fetc%2fpasswd", "A" * 5000, "'--"]
)
def test_what_is_not_a_job_is_not_found(empty_web: Web, job_id: str) -> None:
    assert empty_web.client.get(f"/jobs/{job_id}").status_code == 404
    assert empty_web.client.post(f"/jobs/{job_id}/requeue").status_code == 404
    answer = empty_web.client.get(f"/api/jobs/{job_id}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


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
                r'<script src="/static/[^"]+"(?: type="module"| defer)?></script>', page.text
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


def test_a_job_shows_which_report_replaced_which(web: Web) -> None:
    job_id = revised(web)
    page = web.client.get(f"/jobs/{job_id}").text
    assert page.index("Revision 1 of 2") < page.index("2.25.77") < page.index("Revision 2 of 2")
    told = web.client.get(f"/api/jobs/{job_id}").json()
    assert [each["sop_instance_uid"] for each in told["revisions"]] == ["2.25.77", "2.25.78"]
    assert "Revision" not in web.client.get(f"/jobs/{delivered(web)}").text


def test_a_job_is_found_by_a_report_that_was_replaced(web: Web) -> None:
    job_id = revised(web)
    found = web.client.get("/find", params={"q": "2.25.77"}, follow_redirects=False)
    assert found.headers["location"] == f"/jobs/{job_id}"
