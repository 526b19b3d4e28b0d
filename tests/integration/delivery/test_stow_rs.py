"""STOW-RS to a real Orthanc, with tokens and certificates, and to scripted services."""

import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from peers.dicomweb import query, retrieve, values
from peers.orthanc import OrthancServer
from peers.web_service import Request, Response, WebService, gateway
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage
from support.inference_worker import StandInPredictor, Workspace
from support.system.certificates import Authority, Certificate
from support.system.ports import LOOPBACK, accepts_connections, free_port
from synthetic.objects import make_cr

from service.domain.delivery import DeliveryState
from service.domain.job import JobState
from service.domain.reasons import Reason
from service.settings import LogSettings, WebDestination
from service.telemetry.metrics import DELIVERIES
from service.telemetry.structured_log import configure
from workers.delivery.context import DeliveryContext
from workers.delivery.stored_output import (
    CorruptOutputError,
    DestinationUnavailableError,
    NoResponseError,
    StoreResponse,
)
from workers.delivery.stow_rs import open_service
from workers.delivery.worker import DeliveryWorker
from workers.inference.loading import read
from workers.reporting.outputs import store_outputs

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

NAME = "web"
TOKEN = "secret.Token-1"
SOP_CLASS, SOP_INSTANCE = "00081150", "00081155"


@pytest.fixture
def outbox(tmp_path: Path, report: Path) -> Callable[[int], list[Path]]:
    """`outbox(n)` gives so many copies of the report."""

    def fill(number: int) -> list[Path]:
        files = [tmp_path / f"{each}.dcm" for each in range(number)]
        for file in files:
            file.write_bytes(report.read_bytes())
        return files

    return fill


def to(url: str, **changes: object) -> WebDestination:
    values = {"name": NAME, "url": url, "connect_seconds": 2, "response_seconds": 20}
    return WebDestination.model_validate(values | changes)


def send(url: str, *files: Path, **changes: object) -> list[StoreResponse]:
    with open_service(to(url, **changes)) as service:
        return [service.send(each) for each in files]


def why_not(
    url: str, file: Path, kind: type = DestinationUnavailableError, **changes: object
) -> str:
    with pytest.raises(NoResponseError) as raised:
        send(url, file, **changes)
    assert type(raised.value) is kind
    return str(raised.value)


def uid_of(file: Path) -> str:
    return str(dcmread(file).SOPInstanceUID)


# Orthanc


@pytest.mark.orthanc
def test_report_and_overlay_reach_orthanc_byte_for_byte(
    orthanc_dicomweb: OrthancServer, report: Path, overlay: Path
) -> None:
    url = orthanc_dicomweb.dicomweb_url
    answers = send(url, report, overlay)
    assert [(each.status, each.sop_instance_uid) for each in answers] == [
        (0, uid_of(each)) for each in (report, overlay)
    ]
    (study,) = values(query(url, "studies"), "0020000D")
    kept = retrieve(url, f"studies/{study}")
    assert sorted(kept) == sorted([report.read_bytes(), overlay.read_bytes()])


@pytest.mark.orthanc
def test_an_object_that_orthanc_has_is_taken_again_and_is_there_once(
    orthanc_dicomweb: OrthancServer, report: Path
) -> None:
    for _ in range(2):
        (answer,) = send(orthanc_dicomweb.dicomweb_url, report, report)[1:]
        assert answer.taken
    assert len(orthanc_dicomweb.instances()) == 1


@pytest.mark.orthanc
def test_a_path_where_orthanc_has_no_dicomweb_is_the_services_fault_and_not_the_reports(
    orthanc_dicomweb: OrthancServer, report: Path
) -> None:
    assert why_not(f"{orthanc_dicomweb.http_url}/elsewhere", report) == "http-404"


# A bearer token


@pytest.mark.orthanc
def test_a_client_with_the_token_is_let_through_to_orthanc(
    orthanc_dicomweb: OrthancServer, report: Path, tmp_path: Path
) -> None:
    guarded = WebService(gateway(orthanc_dicomweb.http_url, lambda: TOKEN))
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with guarded.running():
        url = f"{guarded.url}/dicom-web"
        assert why_not(url, report) == "http-401"
        assert why_not(url, report, bearer_token="another") == "http-401"
        assert send(url, report, bearer_token=TOKEN)[0].taken
        assert send(url, report, bearer_token_file=file)[0].taken
    assert len(orthanc_dicomweb.instances()) == 1


@pytest.mark.orthanc
def test_a_token_that_is_renewed_in_its_file_is_used_without_a_restart(
    setup: "Make", orthanc_dicomweb: OrthancServer, tmp_path: Path
) -> None:
    valid, file = ["first"], tmp_path / "token"
    file.write_text("first")
    guarded = WebService(gateway(orthanc_dicomweb.http_url, lambda: valid[0]))
    with guarded.running():
        here = setup(f"{guarded.url}/dicom-web", bearer_token_file=file)
        early, late = here.report(), None
        here.deliver()
        assert here.workspace.stands(early) == (JobState.DELIVERED, None)
        valid[0] = "second"
        late = here.report()
        here.deliver()
        assert here.workspace.stands(late) == (JobState.REPORTED, None)
        file.write_text("second")
        here.workspace.clock.pass_seconds(1000)
        here.deliver()
        assert here.workspace.stands(late) == (JobState.DELIVERED, None)


@pytest.mark.parametrize("content", [b"", b"two words", b"secret\r\nHost: h", "sécret".encode()])
def test_a_token_file_that_holds_none_is_said_to_be_unreadable_and_never_quoted(
    report: Path, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "token"
    assert why_not("https://127.0.0.1:1", report, bearer_token_file=file) == "token-unreadable"
    file.write_bytes(content)
    assert why_not("https://127.0.0.1:1", report, bearer_token_file=file) == "token-unreadable"


def test_a_redirect_is_not_followed_and_the_token_goes_nowhere_else(report: Path) -> None:
    other = WebService(lambda _: Response(200))
    with other.running():
        moved = Response(307, headers={"Location": f"{other.url}/studies"})
        service = WebService(lambda _: moved)
        with service.running():
            assert why_not(service.url, report, bearer_token=TOKEN) == "http-307"
    assert service.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert other.requests == []


def test_neither_log_nor_error_nor_repr_contains_the_token(setup: "Make") -> None:
    stream = io.StringIO()
    configure(LogSettings(level="debug"), stream)
    with WebService(lambda _: Response(401)).running() as service:
        here = setup(service.url, bearer_token=TOKEN)
        here.report()
        here.deliver()
        with (
            pytest.raises(DestinationUnavailableError) as raised,
            open_service(here.destination) as transport,
        ):
            transport.send(here.workspace.output(here.jobs[0], "sr"))
    structlog.reset_defaults()
    assert '"http-401"' in stream.getvalue()
    assert service.requests
    for text in (stream.getvalue(), repr(raised.value), repr(here.destination), repr(transport)):
        assert TOKEN not in text


# Certificates


@pytest.fixture(scope="module")
def client(authority: Authority) -> Certificate:
    return authority.issue("lobar")


@pytest.mark.orthanc
def test_a_client_with_a_certificate_is_let_through_to_orthanc(
    orthanc_dicomweb: OrthancServer,
    authority: Authority,
    client: Certificate,
    report: Path,
    overlay: Path,
) -> None:
    context = authority.server_context(authority.issue("server"))
    two_files = {"client_certificate_file": client.certificate, "client_key_file": client.key}
    one_file: dict[str, Any] = {"client_certificate_file": client.with_key()}
    with WebService(gateway(orthanc_dicomweb.http_url), tls=context).running() as service:
        url = f"{service.url}/dicom-web"
        assert send(url, report, ca_file=authority.certificate, **two_files)[0].status == 0
        assert send(url, overlay, ca_file=authority.certificate, **one_file)[0].status == 0
        assert why_not(url, report, **one_file) == "tls-failed", (
            "the system does not trust this authority"
        )
    assert service.connections == 2
    assert len(orthanc_dicomweb.instances()) == 2


def test_a_server_of_another_name_or_without_tls_is_not_spoken_to(
    authority: Authority, client: Certificate, report: Path
) -> None:
    context = authority.server_context(authority.issue("elsewhere", address="192.0.2.1"))
    trusting: dict[str, Any] = {
        "ca_file": authority.certificate,
        "client_certificate_file": client.with_key(),
    }
    with WebService(lambda _: Response(200), tls=context).running() as service:
        assert why_not(service.url, report, **trusting) == "tls-failed"
    assert service.requests == []
    with WebService(lambda _: Response(200)).running() as service:
        url = service.url.replace("http:", "https:")
        assert why_not(url, report, **trusting) == "tls-failed"


def test_a_server_that_wants_a_certificate_of_another_authority_is_away(
    authority: Authority, tmp_path: Path, report: Path
) -> None:
    context = authority.server_context(authority.issue("server"))
    other = Authority(tmp_path, "another").issue("lobar")
    with WebService(lambda _: Response(200), tls=context).running() as service:
        for shown in ({}, {"client_certificate_file": other.with_key()}):
            with pytest.raises(NoResponseError, match=r"tls-failed|connection-lost"):
                send(service.url, report, ca_file=authority.certificate, **shown)
    assert service.requests == []


def test_certificates_that_cannot_be_read_have_distinct_causes(
    authority: Authority, client: Certificate, report: Path, tmp_path: Path
) -> None:
    absent, empty = tmp_path / "absent.pem", tmp_path / "empty.pem"
    empty.touch()
    for file in (absent, empty):
        assert why_not("https://127.0.0.1:1", report, ca_file=file) == "ca-unreadable"
        word = why_not("https://127.0.0.1:1", report, client_certificate_file=file)
        assert word == "client-certificate-unreadable"
    another = authority.issue("another")
    for key in (another.key, client.locked_key("password")):
        pair: dict[str, Any] = {
            "client_certificate_file": client.certificate,
            "client_key_file": key,
        }
        assert why_not("https://127.0.0.1:1", report, **pair) == "client-certificate-unreadable"


# What a service may answer


def stored(request: Request) -> Response:
    """Answer as a service that takes everything."""
    return Response(200, json.dumps({"00081199": {"vr": "SQ", "Value": [named(request)]}}).encode())


def named(request: Request, **more: int) -> dict[str, object]:
    """Name the instance of a request as responses do, with more numbers."""
    dataset = dcmread(io.BytesIO(request.body.split(b"\r\n\r\n", 1)[1]), stop_before_pixels=True)
    item: dict[str, object] = {
        SOP_CLASS: {"vr": "UI", "Value": [dataset.SOPClassUID]},
        SOP_INSTANCE: {"vr": "UI", "Value": [dataset.SOPInstanceUID]},
    }
    return item | {tag: {"vr": "US", "Value": [number]} for tag, number in more.items()}


def refusing(reason: int, status: int = 409, of: str | None = None) -> Callable[..., Response]:
    """Refuse everything, or one SOP class, with a failure reason."""

    def answer(request: Request) -> Response:
        if of is not None and of.encode() not in request.body:
            return stored(request)
        item = named(request, **{"00081197": reason})
        return Response(status, json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode())

    return answer


def test_a_request_is_what_the_standard_asks_for(report: Path) -> None:
    with WebService(stored).running() as service:
        assert send(f"{service.url}/rs/", report)[0].status == 0
    (request,) = service.requests
    assert (request.method, request.path) == ("POST", "/rs/studies")
    assert request.headers["accept"] == "application/dicom+json"
    kind, _, boundary = request.headers["content-type"].rpartition("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    assert request.body == b"".join(
        (
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode(),
            report.read_bytes(),
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )


def test_everything_goes_over_one_connection(outbox: Callable[[int], list[Path]]) -> None:
    with WebService(stored).running() as service:
        send(service.url, *outbox(5))
    assert (len(service.requests), service.connections) == (5, 1)


def test_a_service_without_comprehensive_3d_sr_gets_the_fallback_and_then_only_that(
    report: Path, overlay: Path
) -> None:
    service = WebService(refusing(0x0122, of=Comprehensive3DSRStorage))
    with service.running():
        first, picture, second = send(service.url, report, overlay, report)
    assert [each.status for each in (first, picture, second)] == [0, 0, 0]
    assert first.sop_instance_uid == second.sop_instance_uid != uid_of(report)
    fallbacks = [each for each in service.requests if ComprehensiveSRStorage.encode() in each.body]
    assert len(service.requests) == 4
    assert all(first.sop_instance_uid.encode() in each.body for each in fallbacks)
    assert dcmread(report).get_item("PatientName").value in fallbacks[-1].body


def test_a_service_that_refuses_the_fallback_too_has_refused(
    report: Path,
) -> None:
    with WebService(refusing(0x0122)).running() as service:
        (answer,) = send(service.url, report)
    assert (answer.status, answer.taken, len(service.requests)) == (0x0122, False, 2)


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404, 405, 410, 429, 503])
def test_a_response_about_the_service_says_nothing_about_the_report(
    report: Path, status: int
) -> None:
    with WebService(lambda _: Response(status)).running() as service:
        assert why_not(service.url, report) == f"http-{status}"


@pytest.mark.parametrize("status", [408, 500, 502, 504])
def test_one_object_without_an_answer_waits_alone_and_the_second_in_a_row_stops_all(
    outbox: Callable[[int], list[Path]], status: int
) -> None:
    one, two, three, four = outbox(4)
    answers = iter((status, 200, status, status))
    with (
        WebService(lambda _: Response(next(answers))).running() as service,
        open_service(to(service.url)) as transport,
    ):
        for file, kind in (
            (one, NoResponseError),
            (three, NoResponseError),
            (four, DestinationUnavailableError),
        ):
            with pytest.raises(NoResponseError, match=f"http-{status}") as raised:
                transport.send(file)
            assert type(raised.value) is kind
            if file is one:
                assert transport.send(two).taken
        assert transport.is_open
    assert not transport.is_open


def test_without_a_listener_there_is_no_connection(report: Path) -> None:
    assert why_not(f"http://{LOOPBACK}:{free_port()}", report) == "no-connection"
    assert why_not("http://no-such-host.invalid", report) == "unknown-host"


def test_a_service_that_hangs_up_has_not_answered(report: Path) -> None:
    with WebService(lambda _: None).running() as service:
        assert why_not(service.url, report, NoResponseError) == "connection-lost"


def test_a_service_that_says_nothing_or_never_ends_is_given_up_on(report: Path) -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen()
        url = f"http://{LOOPBACK}:{listening.getsockname()[1]}"
        assert why_not(url, report, NoResponseError, response_seconds=0.3) == "no-answer"
        dripping = threading.Thread(target=drip, args=(listening,))
        dripping.start()
        assert why_not(url, report, NoResponseError, response_seconds=0.3) == "no-answer"
        dripping.join()


def drip(listening: socket.socket) -> None:
    """Begin an answer that gets a byte every tenth of a second; the connection before is given up.

    The first waits in the queue because it was never accepted.
    """
    for _ in range(2):
        connection, _ = listening.accept()
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                for _ in range(20):
                    connection.sendall(b" ")
                    time.sleep(0.1)
            except OSError:
                continue


@pytest.mark.parametrize("body", [b"{" * 100_000, b"[" * 100_000, b" " * (2 << 20)])
def test_a_body_of_any_kind_is_survived(report: Path, body: bytes) -> None:
    with WebService(lambda _: Response(409, body)).running() as service:
        (answer,) = send(service.url, report)
    assert answer.status == 0x0110


def test_an_object_that_is_damaged_in_the_outbox_is_not_sent(tmp_path: Path, report: Path) -> None:
    damaged = tmp_path / "damaged.sr.dcm"
    damaged.write_bytes(b"not DICOM at all")
    with (
        WebService(stored).running() as service,
        open_service(to(service.url)) as transport,
    ):
        with pytest.raises(CorruptOutputError):
            transport.send(damaged)
        with pytest.raises(FileNotFoundError):
            transport.send(tmp_path / "gone.sr.dcm")
        assert transport.send(report).taken
    assert len(service.requests) == 1


# The whole delivery


class DeliverySetup:
    """A workspace with one DICOMweb destination, and jobs with deliveries pending to it."""

    def __init__(self, folder: Path, url: str, **changes: object) -> None:
        self.destination = to(url, **changes)
        self.workspace = Workspace(folder, destinations=(self.destination,))
        self.jobs: list[str] = []
        context = DeliveryContext(
            settings=self.workspace.settings,
            ledger=self.workspace.ledger,
            spool=self.workspace.spool,
            holder="test/deliver/1/",
        )
        self.worker = DeliveryWorker(context)

    def report(self) -> str:
        """Take an instance in, predict and report it; gives the job."""
        workspace = self.workspace
        job_id = workspace.receive(make_cr(rows=100, columns=100))
        (job,) = workspace.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        predictor = StandInPredictor()
        reading = read(cast("Predictor", predictor), workspace.spool.inbox(job_id))
        (prediction,) = predictor.predict([reading.prepared.tensor])
        store_outputs(
            workspace.settings,
            workspace.ledger,
            workspace.spool,
            job,
            reading.header,
            reading.shown,
            prediction,
        )
        self.jobs.append(job_id)
        return job_id

    def deliver(self) -> None:
        """Do what one wake-up starts."""
        self.worker.deliver_due(self.destination)

    def statuses(self, job_id: str) -> dict[str, tuple[DeliveryState, int | None]]:
        """Where each output of a job stands, and what was answered to it."""
        found = self.workspace.ledger.queries.deliveries(job_id)
        return {each.kind: (each.state, each.status) for each in found}


Make = Callable[..., DeliverySetup]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Make]:
    setups: list[DeliverySetup] = []

    def make(url: str, **changes: object) -> DeliverySetup:
        setups.append(DeliverySetup(tmp_path / "state", url, **changes))
        return setups[-1]

    yield make
    for each in setups:
        each.workspace.ledger.close()


def outcomes(name: str) -> float:
    return float(DELIVERIES.labels(destination=NAME, outcome=name)._value.get())


@pytest.mark.orthanc
def test_orthanc_gets_every_output_and_the_job_ends(
    setup: Make, orthanc_dicomweb: OrthancServer
) -> None:
    here = setup(orthanc_dicomweb.dicomweb_url)
    jobs = [here.report() for _ in range(3)]
    here.deliver()
    for job_id in jobs:
        assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
        assert here.statuses(job_id) == dict.fromkeys(
            ("sr", "overlay"), (DeliveryState.DELIVERED, 0)
        )
    studies = values(query(orthanc_dicomweb.dicomweb_url, "studies"), "0020000D")
    kept = [
        file
        for study in studies
        for file in retrieve(orthanc_dicomweb.dicomweb_url, f"studies/{study}")
    ]
    assert sorted(kept) == sorted(here.workspace.outbox().values())


@pytest.mark.orthanc
def test_an_orthanc_that_was_away_gets_everything_when_it_is_back(
    setup: Make, orthanc_dicomweb: OrthancServer
) -> None:
    here = setup(orthanc_dicomweb.dicomweb_url)
    orthanc_dicomweb.kill()
    jobs = [here.report() for _ in range(2)]
    here.deliver()
    assert {here.workspace.stands(job_id)[0] for job_id in jobs} == {JobState.REPORTED}
    orthanc_dicomweb.start()
    here.workspace.clock.pass_seconds(1000)
    here.deliver()
    assert {here.workspace.stands(job_id)[0] for job_id in jobs} == {JobState.DELIVERED}
    assert len(orthanc_dicomweb.instances()) == 4


def test_a_warning_counts_as_delivered_and_is_kept(setup: Make) -> None:
    def warn(request: Request) -> Response:
        item = named(request, **{"00081196": 0xB006})
        return Response(202, json.dumps({"00081199": {"vr": "SQ", "Value": [item]}}).encode())

    with WebService(warn).running() as service:
        here = setup(service.url)
        job_id, before = here.report(), outcomes("warning")
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert here.statuses(job_id)["sr"] == (DeliveryState.DELIVERED, 0xB006)
    assert outcomes("warning") == before + 2


@pytest.mark.parametrize("reason", [0x0111, 45070])
def test_a_service_that_has_the_object_already_counts_as_having_taken_it(
    setup: Make, reason: int
) -> None:
    with WebService(refusing(reason)).running() as service:
        here = setup(service.url)
        job_id = here.report()
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert here.statuses(job_id)["sr"] == (DeliveryState.DELIVERED, 0x0111)


def test_a_refusal_is_parked_in_the_end_while_the_rest_arrives(setup: Make) -> None:
    service = WebService(refusing(0xA900, of=Comprehensive3DSRStorage))
    with service.running():
        here = setup(service.url)
        job_id = here.report()
        for _ in range(here.workspace.settings.deliver.maximum_refusals):
            here.deliver()
            here.workspace.clock.pass_seconds(1000)
    assert here.workspace.stands(job_id) == (JobState.PARKED, Reason.DESTINATION_REFUSED)
    assert here.statuses(job_id) == {
        "sr": (DeliveryState.PARKED, 0xA900),
        "overlay": (DeliveryState.DELIVERED, 0),
    }


def test_a_service_that_is_full_is_tried_again(setup: Make) -> None:
    with WebService(refusing(0xA700)).running() as service:
        here = setup(service.url)
        job_id = here.report()
        for _ in range(8):
            here.deliver()
            here.workspace.clock.pass_seconds(1000)
        assert here.statuses(job_id)["sr"] == (DeliveryState.PENDING, 0xA700)
        service.answer = stored
        here.deliver()
    assert here.workspace.stands(job_id) == (JobState.DELIVERED, None)


def test_a_service_that_refuses_every_request_opens_its_breaker_and_counts_against_no_report(
    setup: Make,
) -> None:
    with WebService(lambda _: Response(401)).running() as service:
        here = setup(service.url)
        jobs, before = [here.report() for _ in range(2)], outcomes("unreachable")
        here.deliver()
        here.deliver()
    assert len(service.requests) == 1, "the breaker is open"
    assert outcomes("unreachable") == before + 1
    for job_id in jobs:
        for each in here.workspace.ledger.queries.deliveries(job_id):
            assert (each.state, each.refusals, each.status) == (DeliveryState.PENDING, 0, None)
            assert each.due_at == here.workspace.clock.now, "only the breaker delays it"
    here.workspace.clock.pass_seconds(1000)
    service.answer = stored
    with service.running():
        here.deliver()
    assert {here.workspace.stands(job_id)[0] for job_id in jobs} == {JobState.DELIVERED}


def test_an_object_that_the_service_fails_on_delays_no_other(setup: Make) -> None:
    poison: list[bytes] = []
    with WebService(
        lambda request: Response(500) if poison[0] in request.body else stored(request)
    ).running() as service:
        here = setup(service.url)
        jobs = [here.report() for _ in range(3)]
        poison.append(uid_of(here.workspace.output(jobs[0], "sr")).encode())
        here.deliver()
    assert [here.workspace.stands(job_id)[0] for job_id in jobs] == [
        JobState.REPORTED,
        JobState.DELIVERED,
        JobState.DELIVERED,
    ]
    assert here.statuses(jobs[0])["overlay"] == (DeliveryState.DELIVERED, 0)


# What a response that cannot be read means


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("there", [True, False])
def test_a_yes_that_cannot_be_read_counts_once_the_object_is_found(
    report: Path, status: int, *, there: bool
) -> None:
    uid = str(dcmread(report).SOPInstanceUID)
    found = [{"00080018": {"vr": "UI", "Value": [uid if there else "1.2.3"]}}]

    def answer(request: Request) -> Response:
        if request.method == "GET":
            assert request.path == f"/instances?SOPInstanceUID={uid}"
            return Response(200, json.dumps(found).encode())
        return Response(status, b"" if status == 202 else b"{broken")

    with WebService(answer).running() as service, open_service(to(service.url)) as sender:
        if there:
            assert sender.send(report).status == 0x0000
        else:
            with pytest.raises(NoResponseError, match=r"^not-confirmed$"):
                sender.send(report)


@pytest.mark.data
@pytest.mark.parametrize(
    ("manner", "status"),
    [
        ("xml-200-ok", 0x0000),
        ("xml-200-failed", 0xA900),
        ("xml-202-warning", 0xB000),
        ("xml-409-duplicate", 0x0111),
        ("gzip-200-failed", 0xA900),
        ("gzip-202-warning", 0xB000),
        ("json-200-failed", 0xA900),
        ("json-409-272", 0x0110),
        ("json-202-lower", 0xB000),
        ("json-207", 0xB000),
        ("json-200-coerced-uid", 0x0110),
        ("json-202-empty-body", "not-confirmed"),
        ("redirect-307", "http-307"),
    ],
)
def test_an_odd_service_is_understood(
    report: Path, radiographs: Path, manner: str, status: int | str
) -> None:
    port = free_port()
    script = radiographs / "cases" / "wire" / "stow.py"
    service = subprocess.Popen([sys.executable, script, str(port), manner], stdout=subprocess.PIPE)
    try:
        until = time.monotonic() + 20
        while not accepts_connections(port) and time.monotonic() < until:
            time.sleep(0.02)
        with open_service(to(f"http://{LOOPBACK}:{port}")) as sender:
            if isinstance(status, int):
                assert sender.send(report).status == status
            else:
                with pytest.raises(NoResponseError, match=f"^{status}$"):
                    sender.send(report)
    finally:
        service.kill()
        service.communicate()
