"""FHIR resources, valid by fhir.resources (R4B, whose resources used here are those of R4)."""

import json
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given
from hypothesis import strategies as st
from peers.fhir_validator import fhir_faults

from service.messages.example import ANALYSED, EXAMPLES, NOT_ANALYSED
from service.messages.facts import ReportFacts
from service.messages.fhir.bundle import (
    TransactionTemplate,
    build_transaction,
    encode,
)
from service.messages.fhir.resources import build_diagnostic_report
from service.messages.fhir.terms import LOBAR, Systems, subject
from service.messages.templating import MessageTemplateError
from workers.reporting.uids import derive_uid

SYSTEMS = Systems(patient_id="urn:oid:1.2.3", accession_number="urn:oid:1.2.4")


def resources(report: ReportFacts, kind: str) -> list[dict[str, Any]]:
    entries = build_transaction(report, SYSTEMS)["entry"]
    return [each["resource"] for each in entries if each["resource"]["resourceType"] == kind]


@pytest.mark.parametrize("report", EXAMPLES, ids=lambda report: str(report.outcome))
@pytest.mark.parametrize("with_patient", [True, False])
def test_transactions_are_valid(report: ReportFacts, *, with_patient: bool) -> None:
    said = report if with_patient else report.without_patient()
    text = encode(TransactionTemplate(None, SYSTEMS).of(said))
    assert Bundle.model_validate_json(text).type == "transaction"
    assert '""' not in text.decode()  # FHIR has no empty values


@pytest.mark.fhir
def test_resources_are_valid_by_the_definitions_of_r4() -> None:
    said = [*EXAMPLES, *(each.without_patient() for each in EXAMPLES)]
    every = [build_transaction(each, SYSTEMS) for each in said]
    resources = [each["resource"] for bundle in every for each in bundle["entry"]]
    assert fhir_faults([*every, *resources]) == [[]] * (len(every) + len(resources))
    (wrong,) = fhir_faults([{**resources[0], "status": "certain", "opinion": "mine"}])
    assert len(wrong) == 2  # what is wrong is found


def test_an_absent_pneumonia_is_no_condition_of_the_patient() -> None:
    (report,) = resources(ANALYSED, "DiagnosticReport")
    assert report["conclusionCode"][0]["coding"][0]["code"] == "233604007"
    (report,) = resources(NOT_ANALYSED, "DiagnosticReport")
    assert "conclusionCode" not in report


def test_both_findings_are_observations_of_their_own() -> None:
    pneumonia, other = resources(ANALYSED, "Observation")
    assert pneumonia["valueCodeableConcept"]["coding"][0]["display"] == "Present"
    assert other["valueCodeableConcept"]["coding"][0]["display"] == "Absent"
    assert pneumonia["identifier"] != other["identifier"]


def test_what_was_not_analysed_has_no_value_and_a_reason() -> None:
    (observation,) = resources(NOT_ANALYSED, "Observation")
    assert "valueCodeableConcept" not in observation
    codes = [each["code"] for each in observation["dataAbsentReason"]["coding"]]
    assert codes == ["not-performed", "blank-image"]


def test_the_report_before_is_named() -> None:
    (report,) = resources(NOT_ANALYSED, "DiagnosticReport")
    (extension,) = report["extension"]
    value = extension["valueReference"]["identifier"]["value"]
    assert value == f"urn:oid:{ANALYSED.sop_instance_uid}"


def test_lobar_s_codes_are_of_the_scheme_that_reports_name() -> None:
    assert f"urn:oid:{derive_uid('coding-scheme', '99LOBAR')}" == LOBAR


def test_nobody_is_named_where_the_header_names_nobody() -> None:
    assert subject(ANALYSED.without_patient(), SYSTEMS) is None


@given(st.text())
def test_a_narrative_is_text_whatever_it_says(text: str) -> None:
    facts = ANALYSED.without_patient()
    object.__setattr__(facts.study, "accession_number", text)
    built = build_diagnostic_report(facts, SYSTEMS, ["Observation/1"])
    json.dumps(built)
    assert "<" not in built["text"]["div"].removeprefix("<div xmlns=").partition(">")[2][:-6]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"resourceType": "Patient"}',
        '{"resourceType": "Bundle", "type": "collection", "entry": []}',
        '{"resourceType": "Bundle", "type": "transaction", "entry": [{}]}',
        "no JSON",
    ],
)
def test_a_template_that_makes_no_bundle_is_explained(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bundle.json"
    file.write_text(text)
    with pytest.raises(MessageTemplateError):
        TransactionTemplate(file, SYSTEMS).of(ANALYSED)
