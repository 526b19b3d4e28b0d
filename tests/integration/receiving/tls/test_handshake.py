"""Tests of TLS at the listener with a sender of bytes: versions, certificates, and what is odd."""

import contextlib
import gc
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import pytest
from peers.raw_scu import Rejected, Sender, associate_rq, data_set_bytes
from structlog.testing import capture_logs
from support.listener import CR, CR_EXPLICIT, RunningListener
from support.lobar_process import wait_for
from support.system.certificates import Authority, Certificate
from support.system.ports import LOOPBACK, free_port
from synthetic.objects import make_cr

Logs = Sequence[Mapping[str, Any]]

SUCCESS = 0x0000
PATIENCE = 60


@pytest.fixture
def trusted(authority: Authority, client_certificate: Certificate) -> ssl.SSLContext:
    """How the sender that the listener trusts connects."""
    return authority.client_context(client_certificate)


def store(port: int, tls: ssl.SSLContext | None, **options: Any) -> int:  # noqa: ANN401
    dataset = make_cr(rows=16, columns=16)
    with Sender(port, CR_EXPLICIT, tls=tls) as sender:
        status = sender.store(CR, dataset.SOPInstanceUID, data_set_bytes(dataset), **options)
        sender.release()
    return status


def is_let_in(port: int, tls: ssl.SSLContext) -> bool:
    """Return whether a C-STORE succeeds; with TLS 1.3 a client learns late that it is refused."""
    try:
        return store(port, tls) == SUCCESS
    except OSError:
        return False


def wait_until_idle(listener: RunningListener) -> None:
    until = time.monotonic() + PATIENCE
    while not listener.is_free():
        assert time.monotonic() < until
        time.sleep(0.01)


@contextlib.contextmanager
def refusals(listener: RunningListener, *, least: int = 0) -> Iterator[list[str]]:
    """Collect the reasons for which the listener refuses connections; wait for the least of them.

    A connection that is not accepted yet is none that the listener waits for.
    """
    reasons: list[str] = []
    with capture_logs() as logs:
        yield reasons
        wait_for(lambda: sum(each["event"] == "association_rejected" for each in logs) >= least)
        wait_until_idle(listener)
    reasons += [each["reason"] for each in logs if each["event"] == "association_rejected"]


def ends(connection: socket.socket) -> bool:
    """Read until the listener closes the connection."""
    connection.settimeout(PATIENCE)
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(
    mutual: RunningListener, trusted: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    trusted.minimum_version = trusted.maximum_version = version
    with Sender(mutual.port, CR_EXPLICIT, tls=trusted) as sender:
        assert isinstance(sender.socket, ssl.SSLSocket)
        assert sender.socket.version() == version.name.replace("_", ".")
        cipher = sender.socket.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
        sender.release()
    assert is_let_in(mutual.port, trusted)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_1_1_is_refused(mutual: RunningListener, trusted: ssl.SSLContext) -> None:
    trusted.set_ciphers("ALL:@SECLEVEL=0")
    trusted.minimum_version = trusted.maximum_version = ssl.TLSVersion.TLSv1_1
    with refusals(mutual) as reasons, pytest.raises(OSError, match=r"(?i)version|protocol"):
        Sender(mutual.port, tls=trusted)
    assert reasons == ["tls-version-not-supported"]


def test_a_cipher_suite_without_forward_secrecy_is_refused(
    mutual: RunningListener, trusted: ssl.SSLContext
) -> None:
    trusted.maximum_version = ssl.TLSVersion.TLSv1_2
    trusted.set_ciphers("AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA256")
    with refusals(mutual) as reasons:
        assert not is_let_in(mutual.port, trusted)
    assert reasons == ["tls-version-not-supported"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_senders_whose_certificate_does_not_count_are_refused(
    mutual: RunningListener, authority: Authority, stranger: Authority, version: ssl.TLSVersion
) -> None:
    shown = {
        "tls-certificate-missing": None,
        "tls-certificate-not-trusted": stranger.issue("cr1"),
    }
    for reason, certificate in shown.items():
        context = authority.client_context(certificate)
        context.minimum_version = context.maximum_version = version
        with refusals(mutual) as reasons:
            assert not is_let_in(mutual.port, context)
        assert reasons == [reason]


def test_an_expired_certificate_is_refused(mutual: RunningListener, authority: Authority) -> None:
    context = authority.client_context(authority.issue_expired("late"))
    with refusals(mutual) as reasons:
        assert not is_let_in(mutual.port, context)
    assert reasons == ["tls-certificate-not-trusted"]


@pytest.mark.parametrize("fragment_bytes", [3, 1000, 16000])
def test_fragments_of_every_size_arrive_whole(
    mutual: RunningListener, trusted: ssl.SSLContext, fragment_bytes: int
) -> None:
    dataset = make_cr(rows=32, columns=32)
    sent = data_set_bytes(dataset)
    with Sender(mutual.port, CR_EXPLICIT, tls=trusted) as sender:
        status = sender.store(CR, dataset.SOPInstanceUID, sent, fragment_bytes=fragment_bytes)
        sender.release()
    assert status == SUCCESS
    assert mutual.kept_data_set(dataset.SOPInstanceUID) == sent


def test_a_large_data_set_in_large_pdus_arrives_whole(
    mutual: RunningListener, trusted: ssl.SSLContext
) -> None:
    dataset = make_cr(rows=2000, columns=2000)
    sent = data_set_bytes(dataset)
    with Sender(mutual.port, CR_EXPLICIT, tls=trusted) as sender:
        status = sender.store(CR, dataset.SOPInstanceUID, sent, fragment_bytes=130_000)
        sender.release()
    assert status == SUCCESS
    assert mutual.kept_data_set(dataset.SOPInstanceUID) == sent


def test_many_messages_in_one_record_are_all_answered(
    mutual: RunningListener, trusted: ssl.SSLContext
) -> None:
    """What OpenSSL has decrypted already does not wake a thread that waits for the kernel."""
    verification = ("1.2.840.10008.1.1", "1.2.840.10008.1.2")
    with Sender(mutual.port, (verification,), tls=trusted) as sender:
        one = _Recorded(sender)
        assert sender.echo() == SUCCESS
        sender.socket = one.socket
        sender.socket.sendall(one.sent * 40)
        assert [sender.status() for _ in range(40)] == [SUCCESS] * 40
        sender.release()


class _Recorded:
    """Records what a sender sends."""

    def __init__(self, sender: Sender) -> None:
        self.socket = sender.socket
        self.sent = b""
        sender.socket = cast("socket.socket", self)  # of which the sender uses these
        self.recv = self.socket.recv
        self.close = self.socket.close

    def sendall(self, data: bytes) -> None:
        self.sent += data
        self.socket.sendall(data)


def test_plain_dicom_on_the_tls_port_is_closed_and_named(mutual: RunningListener) -> None:
    with (
        refusals(mutual) as reasons,
        socket.create_connection((LOOPBACK, mutual.port)) as connection,
    ):
        connection.sendall(associate_rq(CR_EXPLICIT, calling="TEST", called="LOBAR"))
        assert ends(connection)
    assert reasons == ["tls-not-spoken"]


def test_http_on_the_tls_port_is_closed_and_named(mutual: RunningListener) -> None:
    with (
        refusals(mutual) as reasons,
        socket.create_connection((LOOPBACK, mutual.port)) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: lobar\r\n\r\n")
        assert ends(connection)
    assert reasons == ["tls-not-spoken"]


def test_tls_on_the_plain_port_is_closed(listener: RunningListener, authority: Authority) -> None:
    with pytest.raises(OSError, match=r"(?i)ssl|reset|eof"):
        Sender(listener.port, tls=authority.client_context())
    listener.require_working()


@pytest.mark.parametrize(
    "first", [b"", b"\x16", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x02\x00\x01"]
)
def test_half_a_handshake_ends_in_time(
    listen: Callable[..., AbstractContextManager[RunningListener]],
    server_certificate: Certificate,
    first: bytes,
) -> None:
    with (
        listen(
            tls_certificate_file=server_certificate.certificate,
            tls_key_file=server_certificate.key,
            acse_seconds=0.5,
        ) as hurried,
        refusals(hurried) as reasons,
        socket.create_connection((LOOPBACK, hurried.port)) as connection,
    ):
        connection.sendall(first)
        assert ends(connection)
    assert reasons == ["tls-handshake-timeout"]


def test_a_handshake_that_drips_ends_in_time(
    listen: Callable[..., AbstractContextManager[RunningListener]],
    server_certificate: Certificate,
) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40
    with (
        listen(
            tls_certificate_file=server_certificate.certificate,
            tls_key_file=server_certificate.key,
            acse_seconds=1,
        ) as hurried,
        refusals(hurried) as reasons,
        socket.create_connection((LOOPBACK, hurried.port)) as connection,
    ):
        with contextlib.suppress(ConnectionError):
            for byte in hello:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert ends(connection)
    assert reasons == ["tls-handshake-timeout"]


def test_handshakes_that_stand_still_keep_no_sender_out(
    mutual: RunningListener, trusted: ssl.SSLContext
) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(socket.create_connection((LOOPBACK, mutual.port))).sendall(b"\x16")
        assert is_let_in(mutual.port, trusted)


def test_neither_threads_nor_connections_are_left(
    mutual: RunningListener, trusted: ssl.SSLContext, authority: Authority
) -> None:
    before = threading.active_count()
    for _ in range(5):
        assert is_let_in(mutual.port, trusted)
        assert not is_let_in(mutual.port, authority.client_context())
        with socket.create_connection((LOOPBACK, mutual.port)) as connection:
            connection.sendall(b"\x01")
    until = time.monotonic() + PATIENCE
    while threading.active_count() > before or mutual.associations():
        assert time.monotonic() < until, threading.enumerate()
        time.sleep(0.05)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        assert is_let_in(mutual.port, trusted)
    wait_until_idle(mutual)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors


def test_a_drain_ends_handshakes_and_associations(
    mutual: RunningListener, trusted: ssl.SSLContext
) -> None:
    with (
        socket.create_connection((LOOPBACK, mutual.port)) as half,
        Sender(mutual.port, CR_EXPLICIT, tls=trusted) as sender,
    ):
        mutual.drain(1)
        assert sender.is_closed_upon()
        assert ends(half)
    assert mutual.associations() == []


def test_two_ports_serve_both_and_say_so(both_ports: RunningListener, authority: Authority) -> None:
    assert store(both_ports.port, None) == SUCCESS
    assert store(both_ports.tls_port, authority.client_context()) == SUCCESS
    with pytest.raises(OSError, match=r"(?i)ssl|reset|eof"):
        store(both_ports.port, authority.client_context())


def test_a_peer_that_hangs_up_in_a_handshake_is_named_and_one_that_says_nothing_is_not(
    mutual: RunningListener,
) -> None:
    with refusals(mutual, least=1) as reasons:
        socket.create_connection((LOOPBACK, mutual.port)).close()
        with socket.create_connection((LOOPBACK, mutual.port)) as connection:
            connection.sendall(b"\x16\x03\x01\x02\x00")
    assert reasons == ["tls-handshake-failed"]


def test_two_ports_have_their_limits_together(
    listen: Callable[..., AbstractContextManager[RunningListener]],
    server_certificate: Certificate,
    authority: Authority,
) -> None:
    with (
        listen(
            tls_certificate_file=server_certificate.certificate,
            tls_key_file=server_certificate.key,
            tls_port=free_port(),
            maximum_associations=1,
        ) as listener,
        refusals(listener) as reasons,
        Sender(listener.port, CR_EXPLICIT) as plain,
    ):
        with pytest.raises(Rejected):
            Sender(listener.tls_port, CR_EXPLICIT, tls=authority.client_context())
        plain.release()
    assert reasons == ["local-limit-exceeded"]
