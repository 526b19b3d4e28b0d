"""Events and the data of templates; the signature, by the example of its specification."""

import json
from pathlib import Path

import pytest

from service.messages.cloud_event import EventData, build_event
from service.messages.example import ANALYSED, EXAMPLES
from service.messages.facts import ReportFacts
from service.messages.templating import MessageTemplateError
from service.settings import signing_key
from workers.delivery.messages.webhook import signature


@pytest.mark.parametrize("report", EXAMPLES, ids=lambda report: str(report.outcome))
def test_both_modes_say_the_same(report: ReportFacts) -> None:
    data = EventData(None, include_patient=True).of(report)
    event = build_event(report, data, source="urn:lobar", kind="lobar.report.v1")
    structured = json.loads(event.structured()[1])
    headers, body = event.binary()
    assert structured.pop("data") == json.loads(body)
    structured.pop("datacontenttype")
    assert headers == {
        **{f"ce-{name}": value for name, value in structured.items()},
        "Content-Type": "application/json",
    }


def test_the_patient_is_in_no_event_without_being_asked_for() -> None:
    text = json.dumps(EventData(None, include_patient=False).of(ANALYSED))
    assert "EXAMPLE" not in text
    assert "Example" not in text
    assert json.loads(text)["study_instance_uid"] == ANALYSED.study.uid


def test_a_template_cannot_name_the_patient_either(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text("[{{ patient.id }}, {{ study.accession_number }}, {{ study.uid }}]")
    assert EventData(file, include_patient=False).of(ANALYSED) == ["", "", ANALYSED.study.uid]
    assert EventData(file, include_patient=True).of(ANALYSED)[0] == "EXAMPLE"


def test_a_template_that_makes_no_json_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text("{{ sentence }}\nand more")
    with pytest.raises(MessageTemplateError, match="not JSON: see line 2"):
        EventData(file, include_patient=False).of(ANALYSED)


def test_the_signature_is_that_of_the_standard_webhooks_example() -> None:
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert key is not None
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", ["", "whsec_", "short", "not base64!" * 4, "A" * 120])
def test_what_is_no_key_is_not_taken_for_one(text: str) -> None:
    assert signing_key(text) is None
