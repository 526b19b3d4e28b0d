"""Tests of renewing the listener's certificate while it runs, and of files that cannot be used."""

import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from peers.raw_scu import Sender, data_set_bytes
from structlog.testing import capture_logs
from support.listener import CR, CR_EXPLICIT, RunningListener, settings_for
from support.system.certificates import Authority, Certificate
from synthetic.objects import make_cr

from service.dicom.secure_transport import read_validity
from service.receiving.listener.tls import ListenerTls, open_tls
from service.settings import ConfigurationError
from service.telemetry.metrics import TLS_CERTIFICATE_NOT_AFTER
from service.telemetry.structured_log import FIELDS

Listen = Callable[..., AbstractContextManager[RunningListener]]

PATIENCE = 60


class Files:
    """The files of a listener, which a test replaces as a renewal would."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "listener.pem"
        self.key = folder / "listener.key"

    def put(self, made: Certificate) -> None:
        self.put_key(made)
        self.put_certificate(made)

    def put_certificate(self, made: Certificate) -> None:
        _replace(self.certificate, made.certificate.read_bytes())

    def put_key(self, made: Certificate) -> None:
        _replace(self.key, made.key.read_bytes())

    @property
    def settings(self) -> dict[str, Any]:
        return {"tls_certificate_file": self.certificate, "tls_key_file": self.key}


def _replace(file: Path, content: bytes) -> None:
    fresh = file.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_bytes(content)
    fresh.replace(file)


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    made = Files(tmp_path)
    made.put(authority.issue("first"))
    return made


@pytest.fixture
def tls(files: Files, tmp_path: Path) -> ListenerTls:
    opened = open_tls(settings_for(tmp_path, **files.settings).dicom)
    assert opened is not None
    return opened


def is_written(event: Mapping[str, Any]) -> bool:
    """Return whether the log keeps every field of an event."""
    fields = {name: value for name, value in event.items() if name not in {"event", "log_level"}}
    return all(FIELDS[name].fullmatch(str(value)) for name, value in fields.items())


def common_name(connection: object) -> str:
    assert isinstance(connection, ssl.SSLSocket)
    subject: Any = (connection.getpeercert() or {})["subject"]
    return str(subject[0][0][1])


def not_after() -> float:
    gauge = TLS_CERTIFICATE_NOT_AFTER.labels(role="listener", peer="")
    return float(gauge._value.get())


def test_new_connections_see_a_renewed_certificate_and_an_open_one_goes_on(
    listen: Listen, files: Files, authority: Authority
) -> None:
    dataset = make_cr(rows=16, columns=16)
    with (
        listen(**files.settings) as listener,
        Sender(listener.port, CR_EXPLICIT, tls=authority.client_context()) as open_before,
    ):
        assert common_name(open_before.socket) == "first"
        files.put(authority.issue("second"))
        seen, until = "first", time.monotonic() + PATIENCE
        while seen == "first":
            assert time.monotonic() < until
            with Sender(listener.port, CR_EXPLICIT, tls=authority.client_context()) as sender:
                seen = common_name(sender.socket)
                sender.release()
            time.sleep(0.2)
        assert seen == "second"
        status = open_before.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset))
        open_before.release()
    assert status == 0x0000
    assert not_after() == read_validity(files.certificate).not_after.timestamp()


def test_files_that_have_not_changed_are_left_alone(tls: ListenerTls) -> None:
    context = tls.context
    assert not tls.refresh()
    assert tls.context is context


def test_a_pair_of_which_one_half_is_renewed_waits_for_the_other(
    tls: ListenerTls, files: Files, authority: Authority
) -> None:
    renewed, context = authority.issue("renewed"), tls.context
    files.put_certificate(renewed)
    with capture_logs() as logs:
        assert not tls.refresh()
    assert tls.context is context
    (event,) = logs
    assert event["event"] == "tls_certificate_kept"
    assert is_written(event)
    assert event["log_level"] == "error"
    assert "does not belong to the certificate" in event["message"]
    files.put_key(renewed)
    with capture_logs() as logs:
        assert tls.refresh()
    assert is_written(logs[0])
    assert tls.context is not context


def test_what_cannot_be_used_is_not_taken(
    tls: ListenerTls, files: Files, authority: Authority
) -> None:
    context, expiry = tls.context, not_after()
    for spoil, said in (
        (lambda: files.certificate.write_text("no certificate"), "holds no certificate in PEM"),
        (files.certificate.unlink, "cannot be read"),
        (lambda: files.put(authority.issue_expired("late")), "expired on"),
        (lambda: files.key.write_text("no key"), "holds no key in PEM"),
    ):
        spoil()
        with capture_logs() as logs:
            assert not tls.refresh()
        assert said in logs[0]["message"]
    assert tls.context is context
    assert not_after() == expiry


def test_a_listener_does_not_start_with_files_that_it_cannot_use(
    tmp_path: Path, files: Files, authority: Authority
) -> None:
    other, locked = authority.issue("other"), authority.issue("locked")
    public = files.key.with_suffix(".public")
    public.write_bytes(files.key.read_bytes())
    public.chmod(0o644)
    cases: list[tuple[dict[str, Path], str]] = [
        ({"tls_certificate_file": tmp_path / "absent.pem"}, "absent.pem cannot be read: No such"),
        ({"tls_certificate_file": tmp_path}, "cannot be read: Is a directory"),
        ({"tls_key_file": tmp_path / "absent.key"}, "absent.key cannot be read: No such"),
        ({"tls_key_file": files.certificate}, "holds no key in PEM"),
        ({"tls_key_file": other.key}, "does not belong to the certificate"),
        ({"tls_key_file": public}, "every account of this machine may read the key"),
        ({"tls_ca_file": files.key}, "holds no certificate in PEM"),
        (
            {
                "tls_certificate_file": locked.certificate,
                "tls_key_file": locked.locked_key("secret"),
            },
            "without a password",
        ),
    ]
    files.certificate.chmod(0o600)
    for wrong, said in cases:
        with pytest.raises(ConfigurationError) as raised:
            open_tls(settings_for(tmp_path, **(files.settings | wrong)).dicom)
        message = str(raised.value)
        assert said in message
        assert message.startswith("The listener cannot use TLS: ")
        assert "\n" not in message


def test_a_listener_starts_with_an_expired_certificate_and_says_so(
    tmp_path: Path, files: Files, authority: Authority
) -> None:
    files.put(authority.issue_expired("late"))
    with capture_logs() as logs:
        opened = open_tls(settings_for(tmp_path, **files.settings).dicom)
    assert opened is not None
    (event,) = logs
    assert event["event"] == "tls_certificate_not_valid"
    assert event["log_level"] == "error"
    assert "expired on" in event["message"]


def test_the_authorities_are_renewed_too(
    files: Files, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    authorities = tmp_path / "ca.pem"
    _replace(authorities, stranger.certificate.read_bytes())
    settings = settings_for(tmp_path, **files.settings, tls_ca_file=authorities)
    opened = open_tls(settings.dicom)
    assert opened is not None
    assert len(opened.context.get_ca_certs()) == 1
    _replace(authorities, authority.certificate.read_bytes())
    assert opened.refresh()
    (only,) = opened.context.get_ca_certs()
    assert ("commonName", "authority") in [pair for part in only["subject"] for pair in part]
