"""Tests of sending over TLS: DCMTK and Orthanc take what is sent, and each fault has its word.

DCMTK receives with the options of docs/dicom_tls.md.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers.committing_pacs import CLASS, CommittingPacs
from peers.dcmtk import StoreSCP
from peers.orthanc import OrthancServer
from peers.scripted_pacs import SR_3D, ScriptedPacs
from pynetdicom import AE, evt
from support.delivery_worker import DeliverySetup
from support.inference_worker import PACS, Workspace
from support.system.certificates import Authority, Certificate
from support.system.ports import LOOPBACK, free_port
from synthetic.objects import make_cr

from service.dicom.secure_transport import read_validity
from service.domain.delivery import Reference
from service.domain.job import JobState
from service.settings import CommitmentPeer, DicomSettings, DimseDestination
from service.telemetry.metrics import TLS_CERTIFICATE_NOT_AFTER
from workers.delivery.context import DeliveryContext
from workers.delivery.dimse import associate
from workers.delivery.storage_commitment.respond import CommitmentResponder
from workers.delivery.stored_output import NoResponseError


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Certificate:
    """The certificate that we show."""
    return authority.issue("lobar")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def trusting(authority: Authority, shown: Certificate | None = None) -> dict[str, Any]:
    """Return the settings of a destination over TLS whose authority is trusted."""
    settings: dict[str, Any] = {"tls": True, "tls_ca_file": authority.certificate}
    if shown is not None:
        settings |= {"tls_certificate_file": shown.certificate, "tls_key_file": shown.key}
    return settings


def secured(own: Certificate, authority: Authority, *options: str) -> list[str]:
    """Return storescp's options to speak TLS; it asks for a certificate of this authority."""
    files = (str(own.key), str(own.certificate))
    return ["--enable-tls", *files, "--add-cert-file", str(authority.certificate), *options]


def destination(port: int, ae_title: str = "ANY", **changes: Any) -> DimseDestination:  # noqa: ANN401
    return DimseDestination(
        name="pacs", ae_title=ae_title, host=LOOPBACK, port=port, connect_seconds=2, **changes
    )


def fault(to: DimseDestination) -> str:
    """Return the word for why an association with a destination fails."""
    with pytest.raises(NoResponseError) as raised, associate(to, "LOBAR", [SR_3D]):
        pytest.fail("it was accepted")
    return str(raised.value)


@contextmanager
def scripted(authority: Authority, own: Certificate) -> Iterator[int]:
    """Run a PACS over TLS; yield its port."""
    context = authority.server_context(own)
    with ScriptedPacs(tls=context).running() as pacs:
        yield pacs.port


@pytest.mark.dcmtk
def test_dcmtk_takes_every_output_over_tls(
    storescp: Callable[..., StoreSCP], authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    receiver = storescp(*secured(authority.issue("storescp"), authority))
    setup = DeliverySetup(tmp_path, receiver, tls=trusting(authority, ours))
    job_id = setup.report()
    setup.deliver()
    assert setup.workspace.stands(job_id) == (JobState.DELIVERED, None)
    assert len(receiver.received()) == 2
    gauge = TLS_CERTIFICATE_NOT_AFTER.labels(role="sender", peer=receiver.ae_title)
    assert gauge._value.get() == read_validity(ours.certificate).not_after.timestamp()
    setup.ledger.close()


@pytest.mark.dcmtk
def test_what_dcmtk_refuses_for_want_of_a_certificate_waits_behind_the_breaker(
    storescp: Callable[..., StoreSCP], authority: Authority, tmp_path: Path
) -> None:
    receiver = storescp(*secured(authority.issue("storescp"), authority))
    setup = DeliverySetup(tmp_path, receiver, tls=trusting(authority))
    job_id = setup.report()
    setup.deliver()
    assert setup.breaker_pause() > 0
    assert setup.workspace.stands(job_id) == (JobState.REPORTED, None)
    (why,) = {
        event.detail["why"]
        for event in setup.ledger.queries.trace(job_id)
        if event.name == "output-postponed"
    }
    assert why in {"tls-our-certificate-refused", "tls-handshake-failed", "association-aborted"}
    setup.ledger.close()


def test_each_fault_of_a_certificate_has_its_word(
    authority: Authority, stranger: Authority, ours: Certificate
) -> None:
    elsewhere = authority.issue("elsewhere", address="192.0.2.1")
    with scripted(authority, authority.issue("pacs")) as port:
        assert fault(destination(port, **trusting(stranger))) == "tls-certificate-not-trusted"
        assert fault(destination(port, tls=True)) == "tls-certificate-not-trusted"
        shown = trusting(authority, stranger.issue("unknown"))
        assert fault(destination(port, **shown)) == "tls-our-certificate-refused"
    with scripted(authority, authority.issue_expired("late")) as port:
        assert fault(destination(port, **trusting(authority))) == "tls-certificate-expired"
    with scripted(authority, elsewhere) as port:
        named = trusting(authority, ours)
        assert fault(destination(port, **named)) == "tls-certificate-of-another-name"
        for known in ({"tls_name": "192.0.2.1"}, {"tls_verify_name": False}):
            with associate(
                destination(port, "SCRIPTED", **named, **known), "LOBAR", [SR_3D]
            ) as sender:
                assert sender.echo() == 0


def test_files_that_cannot_be_used_are_named_so(
    authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    port = free_port()
    readable = tmp_path / "readable.key"
    readable.write_bytes(ours.key.read_bytes())
    readable.chmod(0o644)
    for wrong in (
        {"tls_ca_file": tmp_path / "absent.pem"},
        {"tls_certificate_file": tmp_path / "absent.pem"},
        {"tls_key_file": readable},
        {"tls_key_file": authority.issue("other").key},
    ):
        settings = trusting(authority, ours) | wrong
        assert fault(destination(port, **settings)) == "tls-files-unusable"
    assert fault(destination(port, **trusting(authority, ours))) == "no-connection"


@pytest.mark.dcmtk
def test_dcmtk_without_tls_and_one_with_it_are_told_apart(
    storescp: Callable[..., StoreSCP], authority: Authority
) -> None:
    plain = storescp()
    assert fault(destination(plain.port, **trusting(authority))) in {
        "tls-not-spoken",  # where its A-ABORT comes before the connection is reset
        "tls-handshake-failed",
    }
    secure = storescp(*secured(authority.issue("storescp"), authority))
    assert fault(destination(secure.port)) == "association-aborted"


def test_a_peer_that_answers_in_another_protocol_speaks_no_tls(authority: Authority) -> None:
    with _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert fault(destination(port, **trusting(authority))) == "tls-not-spoken"


def test_a_peer_that_never_answers_is_given_up_in_time(authority: Authority) -> None:
    with _answering(b"") as port:
        assert fault(destination(port, **trusting(authority))) == "tls-handshake-failed"


@contextmanager
def _answering(answer: bytes) -> Iterator[int]:
    """Accept one connection and answer with these bytes, whatever comes; yield the port."""
    done = threading.Event()
    with socket.create_server((LOOPBACK, 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)
                done.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        done.set()
        thread.join()


def test_commitment_is_requested_and_received_over_tls(
    authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    context = authority.server_context(authority.issue("archive"))
    pacs = CommittingPacs(tls=context)
    with pacs.running():
        setup = DeliverySetup(tmp_path, pacs, commitment_seconds=60, tls=trusting(authority, ours))
        job_id = setup.report()
        setup.deliver()
        assert setup.workspace.stands(job_id) == (JobState.DELIVERED, None)
        assert len(pacs.asked) == 1
    setup.ledger.close()


def test_results_reach_a_sender_over_tls(
    authority: Authority, ours: Certificate, tmp_path: Path
) -> None:
    peer = CommitmentPeer(
        ae_title="MODALITY", host=LOOPBACK, port=free_port(), **trusting(authority, ours)
    )
    workspace = Workspace(
        tmp_path,
        dicom=DicomSettings(commitment_peers=(peer,)),
        destinations=({**PACS, "port": free_port()},),
    )
    dataset = make_cr(rows=8, columns=8)
    workspace.receive(dataset)
    instance = Reference(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
    workspace.ledger.commitment_requests.receive("MODALITY", "1.2.1", [instance])
    responder = CommitmentResponder(
        DeliveryContext(
            settings=workspace.settings,
            ledger=workspace.ledger,
            spool=workspace.spool,
            holder="test/deliver/1/",
        )
    )
    received: list[int] = []
    with _modality(peer.port, authority, received):
        responder.respond_due()
    assert received == [1]  # PS3.4 J.3.3: all instances are committed
    assert workspace.ledger.queries.due().oldest_answer_at is None
    workspace.ledger.close()


@contextmanager
def _modality(port: int, authority: Authority, received: list[int]) -> Iterator[None]:
    """Run a sender that takes results over TLS, and notes their event types."""

    def note(event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's
        received.append(event.event_type)
        return 0x0000, None

    entity = AE(ae_title="MODALITY")
    entity.add_supported_context(CLASS, scu_role=True, scp_role=True)
    server = entity.start_server(
        (LOOPBACK, port),
        block=False,
        ssl_context=authority.server_context(authority.issue("modality")),
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, note)],
    )
    assert server is not None
    yield
    server.shutdown()


@pytest.mark.orthanc
def test_orthanc_takes_every_output_over_tls(
    authority: Authority,
    ours: Certificate,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own = authority.issue("orthanc-scp")
    server = OrthancServer(
        tmp_path_factory.mktemp("orthanc-scp"),
        options={
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(own.certificate),
            "DicomTlsPrivateKey": str(own.key),
            "DicomTlsTrustedCertificates": str(authority.certificate),
        },
    )
    server.start()
    try:
        known = ScriptedPacs(ae_title=server.ae_title, port=server.dicom_port)  # not running
        setup = DeliverySetup(tmp_path, known, tls=trusting(authority, ours))
        job_id = setup.report()
        setup.deliver()
        assert setup.workspace.stands(job_id) == (JobState.DELIVERED, None)
        assert len(server.instances()) == 2
        refused = destination(server.dicom_port, server.ae_title, **trusting(authority))
        assert fault(refused).startswith(("tls-", "association-aborted"))
        setup.ledger.close()
    finally:
        server.kill()
