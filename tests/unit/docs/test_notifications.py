"""The page about messages names what messages and templates have."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Final

from service.domain.routing import Outcome
from service.messages.cloud_event import EventData, build_event, usual_data
from service.messages.example import ANALYSED
from service.messages.facts import (
    FindingFacts,
    InstanceFacts,
    ModelFacts,
    PatientFacts,
    PersonName,
    ReportFacts,
    StudyFacts,
)
from service.messages.hl7.oru import Names, OruTemplate
from service.web.fhir.query import MOST, PARAMETERS, USUAL

PAGE: Final = (Path(__file__).resolve().parents[3] / "docs" / "notifications.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def first_cells(text: str) -> str:
    return "".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE))


def test_the_members_of_an_event_are_those_of_the_page() -> None:
    table = first_cells(section("Webhook: CloudEvents"))
    assert set(re.findall(r"`(\w+)`", table)) == set(usual_data(ANALYSED, include_patient=True))


def test_a_template_has_the_names_of_the_page() -> None:
    table = section("Templates").split("\n\n")[1]
    named = set(re.findall(r"`(\w+)`", first_cells(table)))
    assert named == {each.name for each in fields(ReportFacts)} | {
        *("sentence", "explanation", "caution")
    }


def test_values_of_templates_have_the_members_of_the_page() -> None:
    members = {
        name for each in re.findall(r"`(\..*?)`", section("Templates")) for name in each.split()
    }
    parts = (FindingFacts, ModelFacts, PatientFacts, PersonName, StudyFacts, InstanceFacts)
    known = {f".{field.name}" for part in parts for field in fields(part)} | {".word"}
    assert members == known


def test_searches_have_the_parameters_of_the_page() -> None:
    text = section("Reading reports as FHIR resources")
    assert {each for each in PARAMETERS if f"`{each}`" not in text} == set()
    assert f"`_count` ({USUAL}, up to {MOST})" in text


def test_every_outcome_can_be_told() -> None:
    assert set(re.findall(r'"(\w+)"', PAGE.split("outcomes = [", 1)[1].split("]", 1)[0])) == set(
        Outcome
    )


def example(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_example_of_an_event_is_what_is_sent_of_that_report() -> None:
    data = EventData(None, include_patient=False).of(ANALYSED)
    event = build_event(ANALYSED, data, source="urn:lobar", kind="lobar.report.v1")
    assert json.loads(example("json")) == json.loads(event.structured()[1])


def test_the_example_of_a_message_is_what_is_sent_of_that_report() -> None:
    names = Names(
        sending_application="LOBAR",
        sending_facility="",
        receiving_application="RIS",
        receiving_facility="",
        processing_id="P",
    )
    message = OruTemplate(None, names, "ris").of(ANALYSED)
    assert example("hl7").splitlines() == message.text.rstrip("\r").split("\r")
