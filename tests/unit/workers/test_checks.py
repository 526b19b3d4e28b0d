"""The checks of `lobar check` on destinations and on the bundle."""

import socket
from pathlib import Path

import pytest
from peers.committing_pacs import CommittingPacs
from peers.scripted_pacs import EXPLICIT, IMPLICIT, SC, SR, ScriptedPacs
from peers.web_service import Response, WebService
from support.system.certificates import Authority
from support.system.ports import free_port

from service.settings import Settings
from workers.checks import DestinationError, echo, load_bundle


def asked(peer: ScriptedPacs, **changes: object) -> str:
    address = {"name": "pacs", "ae_title": "SCRIPTED", "host": "127.0.0.1", "port": peer.port}
    options = {"connect_seconds": 2, "response_seconds": 20}
    settings = Settings(destinations=[{**address, **options, **changes}])
    return echo(settings, settings.destinations[0])


def refused(peer: ScriptedPacs, **changes: object) -> str:
    with pytest.raises(DestinationError) as raised:
        asked(peer, **changes)
    assert f"{changes.get('ae_title', 'SCRIPTED')} at " in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_sop_classes_that_a_destination_accepts_are_listed() -> None:
    with ScriptedPacs().running() as peer:
        said = asked(peer)
    assert said.endswith(
        "answers C-ECHO and takes Comprehensive 3D SR Storage, Comprehensive SR Storage, "
        "Secondary Capture Image Storage"
    )
    with ScriptedPacs(takes=[(SR, IMPLICIT), (SC, EXPLICIT)]).running() as peer:
        assert "3D" not in asked(peer)


def test_each_fault_of_a_destination_has_its_own_advice() -> None:
    assert "no connection" in refused(ScriptedPacs(port=free_port()))
    assert "no name service knows its host" in refused(
        ScriptedPacs(port=104), host="no-such-host.invalid"
    )
    with ScriptedPacs().running() as peer:
        assert "Does it know our AE title" in refused(peer, ae_title="OTHER")
    with ScriptedPacs(takes=[]).running() as peer:
        assert "takes none of our objects" in refused(peer)
    with ScriptedPacs(echoes=False).running() as peer:
        assert "does not accept C-ECHO" in refused(peer)
    with ScriptedPacs(takes=[("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)], echoes=False).running() as p:
        assert "none of our objects and no C-ECHO" in refused(p)


def test_a_destination_that_is_to_commit_itself_must_be_able_to() -> None:
    with ScriptedPacs().running() as peer:
        assert "does not accept Storage Commitment" in refused(peer, storage_commitment=True)
    with CommittingPacs().running() as peer:
        assert asked(peer, storage_commitment=True).endswith(", and commits itself")


def test_a_bundle_that_is_none_says_what_to_set(tmp_path: Path) -> None:
    first, *_ = load_bundle(Settings(bundle={"path": tmp_path}))
    assert (first.subject, first.severity) == ("bundle", 2)
    assert "not a bundle" in first.message
    assert "bundle.path" in first.message


def asked_web(url: str, **changes: object) -> str:
    options = {"connect_seconds": 2, "response_seconds": 0.5}
    settings = Settings(destinations=[{"name": "web", "url": url, **options, **changes}])
    return echo(settings, settings.destinations[0])


def refused_web(url: str, **changes: object) -> str:
    with pytest.raises(DestinationError) as raised:
        asked_web(url, **changes)
    assert str(raised.value).startswith(f"{url} ")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_web_destination_is_asked_with_the_token_for_one_study_that_is_not_read() -> None:
    with WebService(lambda _: Response(200, b"[{}]" * 100_000)).running() as service:
        said = asked_web(f"{service.url}/rs", bearer_token="secret")
    (request,) = service.requests
    assert (request.method, request.path) == ("GET", "/rs/studies?limit=1")
    assert request.headers["authorization"] == "Bearer secret"
    assert said == f"{service.url}/rs answers a query (QIDO-RS)"


def test_a_service_that_only_stores_is_no_fault() -> None:
    with WebService(lambda _: Response(405)).running() as service:
        assert "answers, but to no query (HTTP 405)" in asked_web(service.url)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "Is bearer_token or bearer_token_file given, right, and not expired?"),
        (403, "may their owner query and store?"),
        (404, "Is the path of url right?"),
        (302, "no redirect is followed"),
        (503, "out of service"),
        (500, "HTTP 500."),
    ],
)
def test_a_web_destination_that_refuses_the_query_comes_with_advice(
    status: int, advice: str
) -> None:
    with WebService(lambda _: Response(status)).running() as service:
        assert advice in refused_web(service.url, bearer_token="secret")


def test_a_web_destination_that_cannot_be_reached_comes_with_advice(
    authority: Authority, tmp_path: Path
) -> None:
    nowhere = f"https://127.0.0.1:{free_port()}"
    assert "no connection" in refused_web(nowhere)
    assert "no name service knows its host" in refused_web("https://no-such-host.invalid")
    absent = tmp_path / "absent"
    assert "bearer_token_file cannot be read" in refused_web(nowhere, bearer_token_file=absent)
    assert "ca_file cannot be read" in refused_web(nowhere, ca_file=absent)
    assert "client_key_file cannot be read" in refused_web(nowhere, client_certificate_file=absent)
    context = authority.server_context(authority.issue("server"))
    with WebService(lambda _: Response(200), tls=context).running() as service:
        assert "an authority that ca_file or the system trusts" in refused_web(service.url)
    with WebService(lambda _: None).running() as service:
        assert "it hangs up" in refused_web(service.url)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "does not answer" in refused_web(f"http://127.0.0.1:{silent.getsockname()[1]}")
