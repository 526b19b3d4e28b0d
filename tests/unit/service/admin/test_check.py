"""Tests of `lobar check`: what is ok, a note or an error, each with what to do about it."""

import errno
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from peers.collector import StandInCollector
from peers.openid import StartProvider
from peers.redis_server import RedisServer
from peers.web_service import Response, WebService
from support.system.certificates import Authority
from support.system.ports import LOOPBACK, free_port

from service.admin.certificates import certificate_results
from service.admin.check import checks, run_check
from service.dicom.secure_transport import read_validity
from service.domain.check_result import CheckResult
from service.domain.user import Role
from service.errors import ExplainedError
from service.settings import Destination, DimseDestination, Settings
from service.storage.ledger import Ledger

OK, NOTE, ERROR = range(3)
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
Ask = Callable[..., dict[str, CheckResult]]


class SilentError(ExplainedError):
    pass


def echo(_: Settings, destination: Destination) -> str:
    if isinstance(destination, DimseDestination) and destination.port == 1:
        raise SilentError("it does not answer")
    return "it answers"


def load_bundle(settings: Settings) -> list[CheckResult]:
    if settings.bundle.device == "cuda:1":
        raise OSError(errno.ENOSPC, "No space left on device")
    if settings.bundle.device == "cuda":
        faults = ("there is no CUDA device", "it lacks an inferer")
        return [CheckResult(subject="bundle", message=each, severity=ERROR) for each in faults]
    return [CheckResult(subject="bundle", message="m 1 on cpu")]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    def run(**settings: Any) -> dict[str, CheckResult]:  # noqa: ANN401 -- any of the tree
        chosen = Settings(**{"state_dir": tmp_path / "state", **settings})
        found = list(checks(chosen, echo=echo, load_bundle=load_bundle))
        return {each.subject: each for each in found}

    return run


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def test_on_one_machine_only_the_destinations_must_be_set(ask: Ask) -> None:
    found = ask()
    assert {each.subject for each in found.values() if each.severity != OK} == {"destinations"}
    assert "read from the environment alone" in found["configuration"].message
    assert "for any sender on this machine" in found["listener"].message
    assert "lobar up" in found["redis"].message
    assert "0 instances received" in found["ledger"].message


def test_a_misspelled_variable_is_a_note(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOBAR_DICMO__PORT", "104")
    found = ask()["LOBAR_DICMO__PORT"]
    assert (found.severity, "misspelled" in found.message) == (NOTE, True)


@pytest.mark.parametrize(
    ("dicom", "severity", "said"),
    [
        ({"host": "127.0.0.1"}, OK, "for any sender on this machine"),
        ({"host": "0.0.0.0"}, ERROR, "dicom.allowed_calling_ae_titles"),  # noqa: S104
        ({"host": "0.0.0.0", "allow_any_calling_ae_title": True}, NOTE, "for any sender"),  # noqa: S104
        ({"host": "0.0.0.0", "allowed_calling_ae_titles": ["CR1", "CR2"]}, NOTE, "CR1, CR2"),  # noqa: S104
        (
            {"host": "0.0.0.0", "senders": [{"ae_title": "CR1", "networks": "10.0.0.0/8"}]},  # noqa: S104
            NOTE,
            "for CR1 from 10.0.0.0/8; without TLS: what is sent there can be read",
        ),
    ],
)
def test_a_listener_that_any_machine_can_reach_is_a_note_or_an_error(
    ask: Ask, dicom: dict[str, object], severity: int, said: str
) -> None:
    found = ask(dicom=dicom)["listener"]
    assert found.severity == severity
    assert said in found.message


def test_each_address_of_the_listener_says_who_is_let_in_and_what_is_asked(
    ask: Ask, authority: Authority
) -> None:
    own = authority.issue("listener")
    dicom: dict[str, object] = {
        "host": "127.0.0.1",
        "tls_host": "192.0.2.1",
        "tls_port": 2762,
        "tls_certificate_file": own.certificate,
        "tls_key_file": own.key,
        "tls_ca_file": authority.certificate,
        "senders": [{"ae_title": "CR1", "certificate": "cr1.example"}, {"ae_title": "CR2"}],
    }
    found = ask(dicom=dicom)
    assert (found["listener"].severity, found["listener (TLS)"].severity) == (OK, OK)
    assert found["listener"].message == (
        "LOBAR on 127.0.0.1:11112, for CR2 on this machine; without TLS"
    )
    assert found["listener (TLS)"].message == (
        "LOBAR on 192.0.2.1:2762, for CR1 with the certificate cr1.example, CR2; over TLS, with a "
        f"certificate of an authority in {authority.certificate}"
    )
    anonymous = {**dicom, "tls_ca_file": None, "senders": [{"ae_title": "CR2"}]}
    assert ask(dicom=anonymous)["listener (TLS)"].severity == NOTE
    unguarded = ask(dicom={**dicom, "senders": []})["listener"]
    assert unguarded.severity == ERROR
    assert "dicom.tls_host is 192.0.2.1" in unguarded.message


def test_certificates_that_are_unusable_or_end_soon_are_named(
    ask: Ask, authority: Authority, tmp_path: Path
) -> None:
    soon, late = authority.issue("soon"), authority.issue_expired("late")
    over_tls = {**PACS, "tls": True, "tls_ca_file": authority.certificate}
    public = soon.with_key()
    public.chmod(0o644)
    found = ask(
        dicom={"tls_certificate_file": late.certificate, "tls_key_file": late.key},
        destinations=[
            over_tls,
            {**over_tls, "name": "absent", "tls_ca_file": tmp_path / "absent.pem"},
            {
                **over_tls,
                "name": "soon",
                "tls_certificate_file": soon.certificate,
                "tls_key_file": soon.key,
            },
            {**over_tls, "name": "public", "tls_certificate_file": public},
        ],
    )
    assert found["certificate of the listener"].severity == ERROR
    assert "expired on" in found["certificate of the listener"].message
    assert found["certificate for pacs"].severity == OK
    assert found["certificate for absent"].severity == ERROR
    assert "absent.pem cannot be read" in found["certificate for absent"].message
    assert found["certificate for soon"].severity == NOTE
    assert "which needs no restart" in found["certificate for soon"].message
    assert found["certificate for public"].severity == ERROR
    assert "every account of this machine may read" in found["certificate for public"].message


def test_a_certificate_is_noted_a_month_before_it_expires(
    tmp_path: Path, authority: Authority
) -> None:
    own = authority.issue("lasting", days=90)
    settings = Settings(
        state_dir=tmp_path,
        dicom={"tls_certificate_file": own.certificate, "tls_key_file": own.key},
    )
    validity = read_validity(own.certificate)
    for moment, severity in (
        (validity.not_before - timedelta(hours=1), ERROR),
        (validity.not_before, OK),
        (validity.not_after - timedelta(days=31), OK),
        (validity.not_after - timedelta(days=29), NOTE),
        (validity.not_after + timedelta(hours=1), ERROR),
    ):
        (result,) = certificate_results(settings, moment)
        assert (result.subject, result.severity) == ("certificate of the listener", severity)


@pytest.mark.parametrize(
    ("web", "severity"),
    [
        ({"host": "::1"}, OK),
        ({"host": "0.0.0.0"}, ERROR),  # noqa: S104
        ({"host": "0.0.0.0", "allow_non_loopback": True}, NOTE),  # noqa: S104
    ],
)
def test_pages_that_any_machine_can_open_are_a_note_or_an_error(
    ask: Ask, web: dict[str, object], severity: int
) -> None:
    assert ask(web=web)["web"].severity == severity


@pytest.mark.parametrize(
    ("web", "severity"),
    [({}, OK), ({"host": "0.0.0.0", "allow_non_loopback": True}, NOTE)],  # noqa: S104
)
def test_without_a_user_it_says_how_to_make_one(
    ask: Ask, web: dict[str, object], severity: int
) -> None:
    found = ask(web=web)["sign-in"]
    assert found.severity == severity
    assert "`lobar user add NAME --role admin`" in found.message


def test_it_says_how_people_sign_in(ask: Ask, tmp_path: Path) -> None:
    ask()
    ledger = Ledger(f"sqlite:///{tmp_path / 'state' / 'ledger.sqlite3'}")
    ledger.users.add("anna", Role.ADMIN, "a hash")
    ledger.users.add("bob", Role.VIEWER, "a hash")
    ledger.users.disable("bob")
    ledger.close()
    proxy = {"proxy_header": "X-User", "proxy_addresses": "10.0.0.0/8"}
    found = ask(sign_in=proxy)["sign-in"]
    assert found.severity == OK
    assert found.message == ("1 with a password; at the proxy at 10.0.0.0/8, which sends X-User")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "does not answer"),
        (Response(404), "was answered with 404"),
        (Response(200, b'{"issuer": "https://another.example"}'), "sign_in.openid_issuer exactly"),
        (Response(200, b"<html>"), "not valid"),
    ],
)
def test_an_identity_provider_that_cannot_be_used_is_a_note(
    ask: Ask, answer: Response | None, said: str
) -> None:
    service = WebService(lambda _: answer)
    with service.running():
        found = ask(sign_in=openid(service.url))
    assert found["identity provider"].severity == NOTE
    assert said in found["identity provider"].message
    assert f"at {service.url}" in found["sign-in"].message


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"openid_ca_file": "absent.pem"}, "openid_ca_file has no certificates"),
        ({"openid_client_secret_file": "absent"}, "openid_client_secret_file cannot be read"),
    ],
)
def test_a_file_of_the_identity_provider_that_is_missing_is_a_note(
    ask: Ask, setting: dict[str, str], said: str
) -> None:
    service = WebService(lambda _: Response(404))
    with service.running():
        found = ask(sign_in=openid(service.url) | setting)["identity provider"]
    assert found.severity == NOTE
    assert said in found.message


@pytest.mark.openid
def test_an_identity_provider_that_answers_is_ok(ask: Ask, openid_provider: StartProvider) -> None:
    provider = openid_provider("http://127.0.0.1:9/sign-in/openid/callback")
    found = ask(sign_in=provider.settings())["identity provider"]
    assert (found.severity, found.message) == (OK, f"{provider.issuer} answers")


def openid(issuer: str) -> dict[str, object]:
    return {
        "openid_issuer": issuer,
        "openid_client_id": "lobar",
        "openid_roles": {"readers": "viewer"},
    }


def test_a_state_directory_that_cannot_be_used_is_named(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = ask(state_dir=tmp_path / "file" / "state")
    for subject in ("state directory", "ledger"):
        assert found[subject].severity == ERROR
        assert str(tmp_path / "file") in found[subject].message


def test_a_disk_at_its_reserve_is_an_error(ask: Ask) -> None:
    found = ask(spool={"reserve_bytes": 1 << 62})["state directory"]
    assert (found.severity, "reserve" in found.message) == (ERROR, True)


def test_an_unreachable_ledger_is_reported_without_its_password(ask: Ask) -> None:
    url = f"postgresql://lobar:secret@127.0.0.1:{free_port()}/lobar"
    found = ask(ledger={"url": url})["ledger"]
    assert found.severity == ERROR
    assert "secret" not in found.message


@pytest.mark.parametrize("redis_server", ["redis", "valkey"], indirect=True)
def test_a_redis_or_a_valkey_that_answers_is_named_by_its_own_version(
    ask: Ask, redis_server: RedisServer
) -> None:
    found = ask(redis={"url": redis_server.url})["redis"]
    version = found.message.removeprefix("version ").removesuffix(" answers")
    said = subprocess.run([redis_server.program, "--version"], check=True, capture_output=True)
    assert found.severity == OK
    assert f" v={version} ".encode() in said.stdout


def test_a_redis_that_answers_is_ok_and_one_that_does_not_is_an_error(
    ask: Ask, redis_server: RedisServer
) -> None:
    assert ask(redis={"url": redis_server.url})["redis"].severity == OK
    found = ask(redis={"url": f"redis://127.0.0.1:{free_port()}/0"})["redis"]
    assert (found.severity, "refused" in found.message) == (ERROR, True)


def test_a_bundle_and_destinations_that_do_not_answer_are_named_one_by_one(ask: Ask) -> None:
    found = ask(bundle={"device": "cuda"}, destinations=[PACS, {**PACS, "name": "dead", "port": 1}])
    assert found["bundle"].severity == ERROR
    assert found["destination pacs"].severity == OK
    assert found["destination dead"] == CheckResult(
        subject="destination dead", message="it does not answer", severity=ERROR
    )


@pytest.mark.parametrize(
    ("url", "noticed"),
    [
        ("http://10.0.0.1/dicom-web", True),
        ("http://127.0.0.1:8042/dicom-web", False),
        ("https://10.0.0.1/dicom-web", False),
    ],
)
def test_an_unencrypted_connection_to_another_machine_is_a_note(
    ask: Ask, url: str, *, noticed: bool
) -> None:
    found = ask(destinations=[{"name": "web", "url": url}])
    assert found["destination web"].severity == OK
    assert ("connection to web" in found) == noticed
    if noticed:
        assert found["connection to web"].severity == NOTE
        assert "can be read in transit" in found["connection to web"].message


def test_a_destination_whose_results_the_listener_would_reject_is_a_note(ask: Ask) -> None:
    pacs = {**PACS, "storage_commitment": True}
    for allowed, noted in ((["PACS", "CR1"], False), (["CR1"], True), ([], False)):
        found = ask(destinations=[pacs], dicom={"allowed_calling_ae_titles": allowed})
        assert ("commitment of pacs" in found) == noted
    assert "commitment of pacs" not in ask(
        destinations=[PACS], dicom={"allowed_calling_ae_titles": ["CR1"]}
    )


def test_a_syslog_server_is_tried_and_an_unencrypted_one_elsewhere_is_a_note(ask: Ask) -> None:
    assert "audit export" not in ask()
    port = free_port()
    here = {"syslog_host": LOOPBACK, "syslog_port": port, "syslog_transport": "tcp"}
    results = ask(audit=here)
    assert results["audit export"].severity == ERROR
    assert f"{LOOPBACK}:{port} cannot be reached" in results["audit export"].message
    assert "connection to syslog" not in results
    elsewhere = {"syslog_host": "syslog.invalid", "syslog_transport": "udp"}
    results = ask(audit=elsewhere)
    assert results["connection to syslog"].severity == NOTE
    assert results["audit export"].severity == ERROR


def test_a_bundle_that_a_full_disk_keeps_from_running_is_an_error(ask: Ask) -> None:
    found = ask(bundle={"device": "cuda:1"})["bundle"]
    assert (found.severity, "No space left on device" in found.message) == (ERROR, True)


def test_the_exit_status_says_whether_there_are_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Settings(state_dir=tmp_path, destinations=[PACS])
    assert run_check(good, echo=echo, load_bundle=load_bundle) == 0
    assert "No errors." in capsys.readouterr().out
    bad = Settings(state_dir=tmp_path, destinations=[{**PACS, "port": 1}])
    assert run_check(bad, echo=echo, load_bundle=load_bundle) == 1
    said = capsys.readouterr().out
    assert "1 error." in said
    assert "destination pacs  it does not answer" in said


def test_every_fault_of_a_bundle_is_printed_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(state_dir=tmp_path, destinations=[PACS], bundle={"device": "cuda"})
    assert run_check(settings, echo=echo, load_bundle=load_bundle) == 1
    said = capsys.readouterr().out
    assert "error  bundle  there is no CUDA device" in said
    assert "error  bundle  it lacks an inferer" in said
    assert "2 errors." in said


def test_a_crash_point_that_is_armed_is_noted(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "LOBAR_CRASH_AT" not in ask()
    monkeypatch.setenv("LOBAR_CRASH_AT", "deliver.recorded")
    found = ask()["LOBAR_CRASH_AT"]
    assert found.severity == NOTE
    assert "deliver.recorded" in found.message


def test_the_addresses_of_health_stand_beside_the_others(ask: Ask, tmp_path: Path) -> None:
    found = ask()
    assert found["health (socket)"].message == (
        f"{tmp_path}/state/health.sock, for the service's account on this machine"
    )
    assert "health" not in found
    found = ask(health={"socket_for_group": True, "host": "0.0.0.0", "port": 8081})  # noqa: S104
    assert "account and group" in found["health (socket)"].message
    assert found["health"].severity == NOTE
    assert "0.0.0.0:8081" in found["health"].message


def test_a_collector_of_spans_is_asked_and_its_failure_is_a_note(ask: Ask, tmp_path: Path) -> None:
    assert "tracing" not in ask()
    with StandInCollector().running() as collector:
        found = ask(tracing={"endpoint": collector.endpoint})["tracing"]
        assert (found.severity, found.message) == (OK, f"{collector.endpoint} takes spans")
        assert (collector.spans, len(collector.requests)) == ([], 1)
    found = ask(tracing={"endpoint": collector.endpoint})["tracing"]
    assert (found.severity, "nothing else waits for it" in found.message) == (NOTE, True)
    token = {"endpoint": collector.endpoint, "bearer_token_file": tmp_path / "none"}
    found = ask(tracing=token)["tracing"]
    assert (found.severity, "cannot be read" in found.message) == (ERROR, True)
