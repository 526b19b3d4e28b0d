"""CloudEvents to a web service, read there by the SDK of the specification."""

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from peers.web_service import Request, Response, WebService
from support.message_worker import PATIENT, MessageSetup, secrets_in
from support.system.certificates import Authority
from support.system.ports import free_port

from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.settings import LogSettings, WebhookDestination
from service.telemetry.structured_log import configure
from workers.delivery.messages.webhook import open_webhook
from workers.delivery.stored_output import DestinationUnavailableError

KEY = base64.b64encode(b"a key of thirty-two bytes, or so").decode()
Setup = Callable[..., tuple[MessageSetup, WebService]]
Answer = Callable[[Request], Response | None]


def to(url: str, **changes: object) -> WebhookDestination:
    values = {"name": "hook", "url": url, "connect_seconds": 2, "response_seconds": 5}
    return WebhookDestination.model_validate(values | changes)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """`setup(answer)` makes a receiver that answers so, and a worker that tells it."""
    made: list[MessageSetup] = []

    def make(
        answer: Answer = lambda _: Response(204),
        *,
        maximum_refusals: int = 3,
        **changes: Any,  # noqa: ANN401 -- any of a destination
    ) -> tuple[MessageSetup, WebService]:
        service = WebService(answer)
        here = MessageSetup(
            tmp_path, to(f"{service.url}/events", **changes), maximum_refusals=maximum_refusals
        )
        made.append(here)
        return here, service

    yield make
    for each in made:
        each.ledger.close()


def event_of(request: Request) -> Any:  # noqa: ANN401 -- the SDK's own
    """Read a request with the SDK, which raises at one that is no CloudEvent."""
    headers = {name: value for name, value in request.headers.items() if name != "host"}
    return from_http_event(HTTPMessage(headers, request.body))


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_an_event_about_the_report_arrives_and_the_job_ends(setup: Setup, mode: str) -> None:
    here, service = setup(content_mode=mode)
    job_id = here.report()
    with service.running():
        here.deliver()
    (request,) = service.requests
    event = event_of(request)
    assert (request.method, request.path) == ("POST", "/events")
    assert event.get_id() == here.report_uid(job_id)
    assert (event.get_source(), event.get_type()) == ("urn:lobar", "lobar.report.v1")
    job = here.workspace.job(job_id)
    assert event.get_subject() == job.sop_instance_uid
    data = event.get_data()
    assert data["job_id"] == job_id
    assert data["pneumonia"]["probability"] == job.probability
    assert data["pneumonia"]["finding"] == data["outcome"] == job.finding
    assert data["study_instance_uid"] == job.study_instance_uid
    assert job.state is JobState.DELIVERED
    assert here.of(job_id).state is DeliveryState.DELIVERED
    assert here.workspace.names(job_id)[-2:] == ["output-delivered", "delivered"]


def test_the_patient_is_named_only_where_that_is_set(setup: Setup) -> None:
    here, service = setup()
    here.report()
    with service.running():
        here.deliver()
    (request,) = service.requests
    assert secrets_in(request.body.decode()) == []

    with WebService(lambda _: Response(200)).running() as other:
        named = to(other.url, include_patient=True)
        (path,) = (here.workspace.spool.root / "outbox").glob("??/*.sr.*")
        with open_webhook(named) as sender:
            assert sender.send(path).taken
    data = event_of(other.requests[0]).get_data()
    assert data["patient"]["id"] == PATIENT["PatientID"]
    assert data["patient"]["name"]["family"] == "Müller"
    assert data["study"]["accession_number"] == PATIENT["AccessionNumber"]


def test_a_repeat_is_the_same_event_byte_for_byte(setup: Setup) -> None:
    answers = iter([Response(500), Response(200)])
    here, service = setup(lambda _: next(answers))
    job_id = here.report()
    with service.running():
        here.deliver()
        assert here.of(job_id).state is DeliveryState.PENDING
        assert not here.is_paused()  # it may be this event that the receiver fails on
        here.clock.now += 3600
        here.deliver()
    first, second = service.requests
    assert first.body == second.body
    assert here.of(job_id).state is DeliveryState.DELIVERED


def test_a_receiver_that_is_out_of_service_opens_the_breaker(setup: Setup) -> None:
    here, service = setup(lambda _: Response(503))
    jobs = [here.report(), here.report()]
    with service.running():
        here.deliver()
    assert len(service.requests) == 1  # not another for the second
    assert here.is_paused()
    assert {here.of(each).state for each in jobs} == {DeliveryState.PENDING}
    here.clock.now += 3600
    here.deliver()  # nobody listens
    assert here.is_paused()


def test_an_event_that_is_refused_again_and_again_is_parked_and_can_be_requeued(
    setup: Setup,
) -> None:
    here, service = setup(lambda _: Response(422), maximum_refusals=2)
    job_id = here.report()
    with service.running():
        here.deliver()
        here.clock.now += 3600
        here.deliver()
        assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
        service.answer = lambda _: Response(202)
        here.requeue(job_id)
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert len(service.requests) == 3


def test_what_is_signed_can_be_verified_by_the_standard_webhooks(
    setup: Setup, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"whsec_{KEY}\n")
    here, service = setup(signing_key_file=file)
    job_id = here.report()
    with service.running():
        here.deliver()
    (request,) = service.requests
    identity, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    signed = f"{identity}.{at}.".encode() + request.body
    digest = hmac.new(base64.b64decode(KEY), signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert identity == here.report_uid(job_id)


def test_a_template_makes_the_data(setup: Setup, tmp_path: Path) -> None:
    template = tmp_path / "event.json"
    template.write_text(
        '{"text": {{ "Lobar: " ~ sentence }}, "patient": {{ patient.name.family }},'
        ' "percent": {{ pneumonia.percent if pneumonia else none }}}'
    )
    here, service = setup(template_file=template, include_patient=True)
    job_id = here.report(PatientName='O"Hara\\^Kim')
    with service.running():
        here.deliver()
    data = event_of(service.requests[0]).get_data()
    assert data["patient"] == 'O"Hara'
    assert data["text"].startswith("Lobar: Pneumonia ")
    assert float(data["percent"]) == round(100 * (here.workspace.job(job_id).probability or 0), 1)


@pytest.mark.parametrize(
    ("text", "opens"), [("{{", True), ('{"a": {{ nothing_of_this_name }}}', False), ("no", False)]
)
def test_a_template_that_makes_nothing_leaves_the_job_pending_and_says_so(
    setup: Setup, tmp_path: Path, text: str, *, opens: bool
) -> None:
    template = tmp_path / "event.json"
    template.write_text(text)
    here, service = setup(template_file=template)
    job_id = here.report()
    log = io.StringIO()
    configure(LogSettings(), log)
    with service.running():
        here.deliver()
    structlog.reset_defaults()
    assert service.requests == []
    assert here.of(job_id).state is DeliveryState.PENDING
    assert here.is_paused() is opens
    assert '"event": "template_unusable"' in log.getvalue()


def test_the_log_names_no_patient_whatever_the_receiver_answers(setup: Setup) -> None:
    body = json.dumps({"error": "Müller, PID~0007"}).encode()
    answers = iter([Response(500, body), Response(422, body), Response(200, body)])
    here, service = setup(lambda _: next(answers), include_patient=True)
    job_id = here.report()
    log = io.StringIO()
    configure(LogSettings(), log)
    with service.running():
        for _ in range(3):
            here.deliver()
            here.clock.now += 3600
    structlog.reset_defaults()
    assert here.of(job_id).state is DeliveryState.DELIVERED
    assert "output_sent" in log.getvalue()
    trace = str(here.ledger.queries.trace(job_id))
    assert secrets_in(log.getvalue() + trace) == []


def test_over_tls_with_a_token_and_a_client_certificate(setup: Setup, authority: Authority) -> None:
    here, _ = setup()
    here.report()
    (path,) = (here.workspace.spool.root / "outbox").glob("??/*.sr.*")
    ours = authority.issue("lobar")
    secured = WebService(
        lambda request: Response(200 if request.headers["authorization"] == "Bearer x" else 401),
        tls=authority.server_context(authority.issue("hook")),
    )
    with secured.running():
        known = {"ca_file": authority.certificate, "client_certificate_file": ours.certificate}
        full = to(secured.url, bearer_token="x", client_key_file=ours.key, **known)
        with open_webhook(full) as sender:
            assert sender.send(path).taken
        with (
            open_webhook(to(secured.url, ca_file=authority.certificate)) as sender,
            pytest.raises(DestinationUnavailableError),
        ):
            sender.send(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"signing_key_file": Path("/nowhere")}, "secret-unreadable"),
        ({"bearer_token_file": Path("/nowhere")}, "token-unreadable"),
        ({"template_file": Path("/nowhere")}, "template-unusable"),
    ],
)
def test_a_file_that_is_not_there_is_named_by_a_word(changes: dict[str, Path], why: str) -> None:
    with (
        pytest.raises(DestinationUnavailableError, match=why),
        open_webhook(to(f"http://127.0.0.1:{free_port()}", **changes)),
    ):
        pass
