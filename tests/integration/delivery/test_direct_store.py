"""A request that is written straight to the socket is the one that pynetdicom would send."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock, call

import pytest
from peers.scripted_pacs import SC, ScriptedPacs
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.dul import DULServiceProvider
from support.lobar_process import wait_for
from support.system.certificates import Authority
from synthetic.objects import make_sc

from service.domain.delivery import Reference
from service.settings import DimseDestination
from workers.delivery import direct_store
from workers.delivery.dimse import associate
from workers.delivery.stored_output import NoResponseError, StoreResponse


def to(peer: ScriptedPacs, **changes: object) -> DimseDestination:
    values = {"name": "pacs", "ae_title": peer.ae_title, "host": peer.host, "port": peer.port}
    return DimseDestination.model_validate(values | {"response_seconds": 20} | changes)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance of 375 kB."""
    file = tmp_path_factory.mktemp("outbox") / "instance.dcm"
    make_sc(rows=613, columns=611).save_as(file, enforce_file_format=True)
    return file


@dataclass
class Recording(ScriptedPacs):
    """A PACS that keeps every PDU, and aborts at the n-th if that is set."""

    pdus: list[bytes] = field(default_factory=list)
    aborts_at: int | None = None

    def handlers(self) -> list[Any]:
        return [*super().handlers(), (evt.EVT_DATA_RECV, self._keep)]

    def _keep(self, event: Any) -> None:  # noqa: ANN401 -- pynetdicom's
        self.pdus.append(event.data)
        if len(self.pdus) == self.aborts_at:
            event.assoc.abort()


def sent_bytes(peer: Recording, file: Path, *, direct: bool) -> tuple[StoreResponse, bytes]:
    """Return the response, and every byte that was sent before it."""
    with peer.running(), associate(to(peer), "LOBAR", [SC], direct=direct) as sender:
        before = len(peer.pdus)
        response = sender.send(file)
        return response, b"".join(peer.pdus[before:])


@pytest.mark.parametrize("uid", ["1.2.840.1", "1.2.840.10"], ids=["odd", "even"])
def test_the_command_is_the_one_of_pynetdicom(uid: str) -> None:
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = UID(SC)
    request.AffectedSOPInstanceUID = UID(uid)
    request._dataset_path = (Path("any"), 0)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    expected = encode(message.command_set, is_implicit_vr=True, is_little_endian=True)
    assert direct_store.command(Reference(SC, uid)) == expected


@pytest.mark.parametrize("longest_pdu", [128, 4096, 16382, 0])
def test_every_byte_is_the_one_of_pynetdicom(instance: Path, longest_pdu: int) -> None:
    found = [
        sent_bytes(Recording(longest_pdu=longest_pdu), instance, direct=direct)
        for direct in (True, False)
    ]
    assert found[0] == found[1]
    assert found[0][0].taken
    assert len(found[0][1]) > 613 * 611


def test_a_peer_that_aborts_in_the_middle_has_not_answered(tmp_path: Path) -> None:
    file = tmp_path / "large.dcm"
    make_sc(rows=2400, columns=2400).save_as(file, enforce_file_format=True)
    peer = Recording(aborts_at=5)
    with peer.running(), associate(to(peer), "LOBAR", [SC]) as sender:
        with pytest.raises(NoResponseError):
            sender.send(file)
        with pytest.raises(NoResponseError, match="association-lost"):
            sender.send(file)
    assert peer.received == []


def test_an_object_after_another_goes_over_the_same_association(instance: Path) -> None:
    peer = ScriptedPacs()
    with peer.running(), associate(to(peer), "LOBAR", [SC]) as sender:
        assert all(sender.send(instance).taken for _ in range(5))
        assert sender.echo() == 0
    assert (len(peer.received), peer.associations) == (5, 1)


def test_an_association_that_idles_is_looked_at_now_and_then(
    instance: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Mock(wraps=DULServiceProvider._process_recv_primitive)
    monkeypatch.setattr(
        DULServiceProvider, "_process_recv_primitive", lambda self: bool(looks(self))
    )
    peer = ScriptedPacs()
    with peer.running(), associate(to(peer), "LOBAR", [SC]) as sender:
        layer = sender._association.dul
        assert sender.send(instance).taken
        before = looks.mock_calls.count(call(layer))
        time.sleep(0.5)
        assert looks.mock_calls.count(call(layer)) - before < 50, "it is awake every 50 ms"
        assert sender.send(instance).taken, "and at once when there is something"
    wait_for(lambda: peer.open_now == 0)
    assert len(peer.received) == 2


def test_an_association_that_the_destination_ends_while_it_idles_is_not_open(
    instance: Path,
) -> None:
    peer = ScriptedPacs()
    with peer.running(), associate(to(peer), "LOBAR", [SC]) as sender:
        assert sender.send(instance).taken
        assert sender.is_open
        peer.abort()
        wait_for(lambda: not sender.is_open)
        with pytest.raises(NoResponseError, match="association-lost"):
            sender.send(instance)


def test_over_tls_pynetdicom_sends(instance: Path, authority: Authority) -> None:
    ours = authority.issue("lobar")
    peer = ScriptedPacs(tls=authority.server_context(authority.issue("pacs")))
    settings = {
        "tls": True,
        "tls_ca_file": authority.certificate,
        "tls_certificate_file": ours.certificate,
        "tls_key_file": ours.key,
    }
    with (
        peer.running(),
        associate(to(peer, **settings), "LOBAR", [SC]) as sender,
    ):
        assert direct_store.connection_of(sender._association) is None
        assert sender.send(instance).taken
    assert len(peer.received) == 1
