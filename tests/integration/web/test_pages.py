import re
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from support.routes import to
from support.web_server import Web, part10
from synthetic.objects import make_cr

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, OtherAbnormality, Revision
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


def test_an_empty_ledger_says_what_to_do(empty_web: Web) -> None:
    page = empty_web.client.get("/").text
    assert "Nothing has been received yet" in page
    assert "Not a medical device" in page


def test_the_first_page_shows_state_finding_probability_and_model(web: Web) -> None:
    job_id = delivered(web)
    page = web.client.get("/").text
    for shown in (job_id[:8], "Delivered", "present", "0.877", "screening", "pneumonia 1.2"):
        assert shown in page
    assert f'href="/jobs/{job_id}"' in page


@pytest.mark.parametrize("other", ["present", "absent", "indeterminate"])
@pytest.mark.parametrize("finding", ["present", "absent", "indeterminate"])
def test_the_list_shows_both_findings(web: Web, finding: str, other: str) -> None:
    read = OtherAbnormality(finding=other, probability=0.91234, operating_point="sensitive")
    reported(web, replace(ABNORMAL, finding=finding, other=read))
    badge = '<span class="badge finding-{0}">{0}</span>'
    listed = web.client.get("/").text
    assert f"<td>{badge.format(finding)}</td>" in listed
    assert f"<td>{badge.format(other)} 0.912</td>" in listed


def test_the_list_shows_the_operating_point(web: Web) -> None:
    reported(web)
    assert re.search(r"<td>screening</td>", web.client.get("/").text)


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


def test_a_state_filters_the_list_and_its_count_is_shown(web: Web) -> None:
    one, other = parked(web), delivered(web)
    page = web.client.get("/", params={"state": "parked"}).text
    assert one[:8] in page
    assert other[:8] not in page
    assert re.search(r"<b>1</b> Parked", page)
    assert re.search(r"<b>2</b> All", page)


def test_older_instances_are_on_the_next_page(web: Web) -> None:
    jobs = [web.receive() for _ in range(53)]
    first = web.client.get("/").text
    older = re.search(r'href="(/\?before=[^"]+)"', first)
    assert older is not None
    second = web.client.get(older.group(1)).text
    shown = [set(re.findall(r'href="/jobs/([0-9a-f]{32})"', page)) for page in (first, second)]
    assert (len(shown[0]), len(shown[1])) == (50, 3)
    assert shown[0] | shown[1] == set(jobs)


def test_a_job_is_found_by_its_id_and_by_the_uid_of_its_report(web: Web) -> None:
    job_id = reported(web)
    for text in (job_id, job_id[:8], REPORT.sop_instance_uid):
        answer = web.client.get("/find", params={"q": text})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")
    assert "0 found" in web.client.get("/find", params={"q": "1.2.3.4"}).text
    assert web.client.get("/find", params={"q": "<script>"}).status_code == 422


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


def test_no_page_loads_anything_from_another_host_or_runs_a_script(web: Web) -> None:
    for page in every_page(web, parked(web)):
        assert not re.search(r"""(src|href|action)=["'](https?:)?//""", page.text)
        assert "<script" not in page.text
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
