"""What `lobar check` says of receivers of messages, which it sends none."""

import json
from pathlib import Path
from typing import Any

import pytest
from peers.fhir_server import CAPABILITY, FHIR_JSON
from peers.mllp import ScriptedMllp
from peers.web_service import Response, WebService
from support.system.ports import LOOPBACK, free_port

from service.settings import Settings
from workers.checks import DestinationError, echo

EMAIL = {"kind": "email", "sender": "a@example.org", "recipients": ["b@example.org"]}


def asked(**destination: Any) -> str:  # noqa: ANN401 -- any of a destination
    limits = {"name": "told", "connect_seconds": 2, "response_seconds": 2}
    settings = Settings(destinations=[{**limits, **destination}])
    return echo(settings, settings.destinations[0])


def refused(**destination: Any) -> str:  # noqa: ANN401 -- as above
    with pytest.raises(DestinationError) as raised:
        asked(**destination)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("status", "says"),
    [(200, "answers"), (405, "a report will show what it takes"), (501, "(HTTP 501)")],
)
def test_a_webhook_is_asked_without_an_event(status: int, says: str) -> None:
    with WebService(lambda _: Response(status)).running() as service:
        assert says in asked(kind="webhook", url=service.url)
    (request,) = service.requests
    assert (request.method, request.body) == ("OPTIONS", b"")


def test_a_webhook_that_refuses_says_what_to_look_at() -> None:
    with WebService(lambda _: Response(401)).running() as service:
        assert "bearer_token" in refused(kind="webhook", url=service.url)
    assert "no connection" in refused(kind="webhook", url=f"http://{LOOPBACK}:{free_port()}")


def test_a_receiver_of_hl7_is_connected_to_and_sent_nothing() -> None:
    with ScriptedMllp(lambda _: b"").running() as receiver:
        said = asked(kind="hl7", host=LOOPBACK, port=receiver.port)
    assert said == f"{LOOPBACK}:{receiver.port} takes connections; no message is sent on trial"
    assert receiver.received == []
    assert "no connection" in refused(kind="hl7", host=LOOPBACK, port=free_port())


@pytest.mark.parametrize(
    ("capability", "says"),
    [
        (CAPABILITY, "answers as FHIR 4.0.1 and takes transactions"),
        ({**CAPABILITY, "rest": []}, "does not say that it takes transactions"),
        (["no statement"], "without a CapabilityStatement"),
    ],
)
def test_a_fhir_server_is_asked_what_it_is(capability: Any, says: str) -> None:  # noqa: ANN401
    answer = Response(200, json.dumps(capability).encode(), FHIR_JSON)
    with WebService(lambda _: answer).running() as service:
        assert says in asked(kind="fhir", url=f"{service.url}/fhir")
    assert [each.path for each in service.requests] == ["/fhir/metadata"]


def test_a_server_of_another_version_of_fhir_is_none() -> None:
    answer = Response(200, json.dumps({**CAPABILITY, "fhirVersion": "5.0.0"}).encode(), FHIR_JSON)
    with WebService(lambda _: answer).running() as service:
        assert "FHIR 5.0.0, and not as R4" in refused(kind="fhir", url=service.url)


def test_a_mail_server_that_is_not_there_is_said_to_be_so() -> None:
    assert "no connection" in refused(host=LOOPBACK, port=free_port(), **EMAIL)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ({"kind": "webhook", "url": "http://127.0.0.1:1"}, "{{ nobody }}"),
        ({"kind": "hl7", "host": LOOPBACK, "port": 1}, "MSH|wrong"),
        ({"kind": "fhir", "url": "http://127.0.0.1:1"}, "[]"),
        ({"host": LOOPBACK, "port": 1, **EMAIL}, "a subject and no text"),
    ],
)
def test_a_template_is_tried_before_the_receiver(
    tmp_path: Path, kind: dict[str, Any], text: str
) -> None:
    file = tmp_path / "template"
    file.write_text(text)
    assert "no connection" not in refused(template_file=file, **kind)
