"""Transactions to a stand-in for a FHIR server, which validates them with fhir.resources."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.fhir_server import FhirStore
from peers.web_service import Request, Response, WebService
from support.message_worker import PATIENT, MessageSetup

from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.settings import FhirDestination

Setup = Callable[..., tuple[MessageSetup, WebService]]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """`setup(answer)` makes a server that answers so, and a worker that tells it."""
    made: list[MessageSetup] = []

    def make(
        answer: Callable[[Request], Response | None],
        **changes: Any,  # noqa: ANN401 -- any of a destination
    ) -> tuple[MessageSetup, WebService]:
        service = WebService(answer)
        values = {"name": "ehr", "url": f"{service.url}/fhir", "response_seconds": 5}
        destination = FhirDestination.model_validate(values | changes)
        made.append(MessageSetup(tmp_path, destination, maximum_refusals=2))
        return made[-1], service

    yield make
    for each in made:
        each.ledger.close()


def test_a_report_is_there_with_its_finding_and_its_patient(setup: Setup) -> None:
    store = FhirStore()
    here, service = setup(store.answer, patient_id_system="urn:oid:1.2.3")
    job_id = here.report()
    with service.running():
        here.deliver()
    job = here.workspace.job(job_id)
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    (report,) = store.of("DiagnosticReport")
    (observation,) = store.of("Observation")
    assert report["identifier"][0]["value"] == f"urn:oid:{here.report_uid(job_id)}"
    assert report["status"] == observation["status"] == "preliminary"
    assert report["result"] == [{"reference": observation["fullUrl"]}]
    assert report["imagingStudy"][0]["identifier"]["value"] == f"urn:oid:{job.study_instance_uid}"
    subject = report["subject"]["identifier"]
    assert (subject["system"], subject["value"]) == ("urn:oid:1.2.3", PATIENT["PatientID"])
    assert report["basedOn"][0]["identifier"]["value"] == PATIENT["AccessionNumber"]
    codes = {"present": "52101004", "absent": "272519000", "indeterminate": "373068000"}
    assert observation["valueCodeableConcept"]["coding"][0]["code"] == codes[job.finding or ""]
    certainty, probability = (each["valueQuantity"] for each in observation["component"])
    assert (certainty["value"], certainty["code"]) == (round(100 * (job.probability or 0), 1), "%")
    assert probability["value"] == job.probability


def test_a_repeat_makes_nothing_twice(setup: Setup) -> None:
    store = FhirStore()
    answers = iter([True, False])

    def lose_the_first_answer(request: Request) -> Response | None:
        answer = store.answer(request)
        return None if next(answers) else answer

    here, service = setup(lose_the_first_answer)
    job_id = here.report()
    with service.running():
        here.deliver()
        assert here.of(job_id).state is DeliveryState.PENDING
        here.clock.now += 3600
        here.deliver()
    assert here.of(job_id).state is DeliveryState.DELIVERED
    assert store.transactions == 2
    assert (len(store.of("DiagnosticReport")), len(store.of("Observation"))) == (1, 1)


def test_a_server_without_transactions_gets_each_resource_by_itself(setup: Setup) -> None:
    store = FhirStore()
    answers = iter([True, False, True, True])

    def lose_the_second_answer(request: Request) -> Response | None:
        answer = store.answer(request)
        return answer if next(answers) else None

    here, service = setup(lose_the_second_answer, write="resources")
    job_id = here.report()
    with service.running():
        here.deliver()
        assert here.of(job_id).state is DeliveryState.PENDING
        here.clock.now += 3600
        here.deliver()
    assert here.of(job_id).state is DeliveryState.DELIVERED
    assert [each.path for each in service.requests] == [
        "/fhir/Observation",
        "/fhir/DiagnosticReport",
    ] * 2
    (report,) = store.of("DiagnosticReport")
    assert report["result"] == [{"reference": "Observation/0"}]
    assert len(store.of("Observation")) == 1


def test_a_server_that_does_not_say_where_a_resource_is_is_asked_again(setup: Setup) -> None:
    here, service = setup(lambda _: Response(201), write="resources")
    job_id = here.report()
    with service.running():
        here.deliver()
    assert here.of(job_id).state is DeliveryState.PENDING
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("status", "refused", "paused"),
    [
        (400, True, False),
        (412, True, False),
        (422, True, False),
        (401, False, True),
        (404, False, True),
        (503, False, True),
        (500, False, False),
    ],
)
def test_an_answer_is_recorded_by_what_it_means(
    setup: Setup, status: int, *, refused: bool, paused: bool
) -> None:
    here, service = setup(lambda _: Response(status, b"Muller"))
    job_id = here.report()
    with service.running():
        here.deliver()
    delivery = here.of(job_id)
    assert delivery.state is DeliveryState.PENDING
    assert bool(delivery.refusals) is refused
    assert here.is_paused() is paused


def test_a_template_makes_the_bundle(setup: Setup, tmp_path: Path) -> None:
    template = tmp_path / "bundle.json"
    template.write_text(
        '{"resourceType": "Bundle", "type": "transaction", "entry": [{"fullUrl": "urn:uuid:1",'
        '"resource": {"resourceType": "DiagnosticReport", "status": "preliminary",'
        '"code": {"text": {{ sentence }}},'
        '"identifier": [{"system": "urn:x", "value": {{ sop_instance_uid }}}]},'
        '"request": {"method": "POST", "url": "DiagnosticReport",'
        '"ifNoneExist": {{ "identifier=urn:x|" ~ sop_instance_uid }}}}]}'
    )
    store = FhirStore()
    here, service = setup(store.answer, template_file=template)
    job_id = here.report()
    with service.running():
        here.deliver()
    (report,) = store.of("DiagnosticReport")
    assert report["identifier"][0]["value"] == here.report_uid(job_id)
    assert report["code"]["text"].startswith("Pneumonia")
