"""Reports read over `/fhir`, signed in; what comes is valid by fhir.resources."""

from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.observation import Observation
from fhir.resources.R4B.operationoutcome import OperationOutcome
from support.reported_job import receive, report
from support.web_server import Web
from synthetic.report_sources import MODEL, predicted

from service.domain.audit import Action
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.domain.user import Role
from workers.prediction import Finding, NotAnalysed

PATIENT = Patient(patient_name="Müller^Jörg", patient_id="PID 0007", accession_number="A-4711")
REPORTS = "/fhir/DiagnosticReport"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("web") / "state").running() as running:
        yield running


@pytest.fixture(scope="module")
def jobs(web: Web) -> tuple[str, str]:
    """A job that was analysed, and a later one of another patient that was not."""
    first = receive(web, PATIENT)
    report(web, first, predicted(other=Finding.ABSENT))
    second = receive(web, Patient(patient_id="OTHER"))
    report(web, second, NotAnalysed(reason=Reason.BLANK, model=MODEL))
    return first, second


@pytest.fixture(scope="module")
def reader(web: Web, jobs: tuple[str, str]) -> httpx.Client:
    del jobs
    return web.sign_in(Role.VIEWER)


def found(reader: httpx.Client, query: str) -> list[str]:
    answer = reader.get(f"{REPORTS}?{query}")
    assert answer.status_code == HTTPStatus.OK
    bundle = Bundle.model_validate_json(answer.content)
    assert bundle.type == "searchset"
    entries = answer.json().get("entry", [])
    return [each["resource"]["id"] for each in entries if each["search"]["mode"] == "match"]


def test_a_report_is_read_with_its_observations(
    reader: httpx.Client, jobs: tuple[str, str]
) -> None:
    answer = reader.get(f"{REPORTS}/{jobs[0]}")
    assert answer.headers["content-type"] == "application/fhir+json"
    DiagnosticReport.model_validate_json(answer.content)
    references = [each["reference"] for each in answer.json()["result"]]
    assert len(references) == 2
    for each in references:
        observation = reader.get(f"/fhir/{each}")
        Observation.model_validate_json(observation.content)
        assert observation.json()["subject"]["identifier"]["value"] == "PID 0007"


def test_what_was_not_analysed_is_read_with_the_reason(
    reader: httpx.Client, jobs: tuple[str, str]
) -> None:
    observation = reader.get(f"/fhir/Observation/{jobs[1]}.pneumonia")
    assert observation.json()["dataAbsentReason"]["coding"][1]["code"] == "blank-image"


def test_reports_are_found_by_patient_order_study_and_identifier(
    reader: httpx.Client, web: Web, jobs: tuple[str, str]
) -> None:
    first, second = jobs
    job = web.ledger.queries.job(first)
    assert job is not None
    (output,) = web.ledger.queries.outputs(first)
    uid = output.sop_instance_uid
    assert found(reader, "") == [second, first]
    assert found(reader, "patient:identifier=PID%200007") == [first]
    assert found(reader, "subject:identifier=urn:x|PID%200007") == [first]
    assert found(reader, "based-on:identifier=A-4711") == [first]
    assert found(reader, f"study=urn:oid:{job.study_instance_uid}") == [first]
    assert found(reader, f"identifier=urn:dicom:uid|urn:oid:{uid}") == [first]
    assert found(reader, f"_id={second}") == [second]
    for nothing in ("identifier=urn:x|urn:oid:1.2", "_id=1", "study=none", "patient:identifier=Z"):
        assert found(reader, nothing) == []


def test_pages_lead_to_the_next_and_observations_come_along(
    reader: httpx.Client, jobs: tuple[str, str]
) -> None:
    answer = reader.get(f"{REPORTS}?_count=1&_include=DiagnosticReport:result").json()
    modes = [each["search"]["mode"] for each in answer["entry"]]
    assert modes == ["match", "include"]
    links = {each["relation"]: each["url"] for each in answer["link"]}
    following = reader.get(links["next"]).json()
    assert following["entry"][0]["resource"]["id"] == jobs[0]
    assert [each["search"]["mode"] for each in following["entry"]] == ["match", *["include"] * 2]
    assert "next" not in {each["relation"] for each in following["link"]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{REPORTS}/{'0' * 32}", 404),
        (f"{REPORTS}/a%20b", 404),
        ("/fhir/Observation/none", 404),
        (f"/fhir/Observation/{'0' * 32}.pneumonia", 404),
        ("/fhir/Patient/1", 404),
        (f"{REPORTS}?name=Muller", 400),
        (f"{REPORTS}?_count=-1", 400),
        (f"{REPORTS}?_count=1&_count=2", 400),
        (f"{REPORTS}?_include=Patient", 400),
        (f"{REPORTS}?_format=xml", 406),
    ],
)
def test_an_error_is_an_operation_outcome(reader: httpx.Client, path: str, status: int) -> None:
    answer = reader.get(path)
    assert answer.status_code == status
    outcome = OperationOutcome.model_validate_json(answer.content)
    assert outcome.issue[0].diagnostics


def test_who_does_not_take_json_is_told(reader: httpx.Client) -> None:
    answer = reader.get(REPORTS, headers={"Accept": "application/fhir+xml"})
    assert answer.status_code == HTTPStatus.NOT_ACCEPTABLE


def test_nobody_reads_a_patient_without_signing_in(
    web: Web, reader: httpx.Client, jobs: tuple[str, str]
) -> None:
    del reader  # there is a user, so the pages are not open
    answer = web.client.get(f"{REPORTS}/{jobs[0]}")
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer.json()["issue"][0]["code"] == "login"
    operator = web.sign_in(Role.OPERATOR)
    assert operator.get(f"{REPORTS}/{jobs[0]}").status_code == HTTPStatus.FORBIDDEN


def test_reading_and_searching_are_in_the_audit_trail(
    web: Web, reader: httpx.Client, jobs: tuple[str, str]
) -> None:
    reader.get(f"{REPORTS}/{jobs[0]}")
    reader.get(f"{REPORTS}?patient:identifier=PID%200007")
    searched, viewed = records(web)[:2]
    assert (viewed.action, viewed.job_id) == (Action.VIEW, jobs[0])
    assert viewed.patient_id == PATIENT.patient_id
    assert (searched.action, searched.detail) == (Action.SEARCH, {"what": "fhir", "results": 1})


def records(web: Web) -> list[Any]:
    return list(web.ledger.audit.recent(10))


def test_the_server_says_what_it_can_do(reader: httpx.Client) -> None:
    answer = reader.get("/fhir/metadata")
    CapabilityStatement.model_validate_json(answer.content)
    assert answer.json()["fhirVersion"] == "4.0.1"


def test_a_report_that_retention_removed_is_gone(tmp_path: Path) -> None:
    with Web(tmp_path / "state").running() as web:
        job_id = receive(web, PATIENT)
        report(web, job_id, predicted())
        (output,) = web.ledger.queries.outputs(job_id)
        web.spool.outbox(job_id, "sr", output.sop_instance_uid).unlink()
        reader = web.sign_in(Role.VIEWER)
        assert reader.get(f"{REPORTS}/{job_id}").status_code == HTTPStatus.GONE
        assert found(reader, "") == []
