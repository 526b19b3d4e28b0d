"""The export of the audit trail to Debian's rsyslogd: in order, nothing lost, nobody delayed."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from peers.rsyslog import Rsyslog, Tls
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.migrated_ledger import open_ledger
from support.system.certificates import Authority
from support.system.ports import LOOPBACK, free_port

from service.audit.export import BATCH, AuditExporter
from service.audit.syslog import SyslogError, SyslogFault, SyslogServer
from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.settings import AuditSettings, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.telemetry.ledger_collector import LedgerMetrics

VIEWED = AuditRecord(
    at=1764424800.25,
    action=Action.VIEW,
    user="ann",
    address="192.0.2.7",
    job_id="a" * 32,
    study_instance_uid="1.2.3",
    patient_id="PAT-é",
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite3")
    yield opened
    opened.close()


def settings(port: int, transport: str = "tcp", **audit: object) -> Settings:
    tree: dict[str, Any] = {
        "syslog_host": LOOPBACK,
        "syslog_port": port,
        "syslog_transport": transport,
        **audit,
    }
    return Settings(audit=AuditSettings(**tree))


def append(ledger: Ledger, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        ledger.audit.append(replace(VIEWED, user=f"user-{n}"))


def exporter(ledger: Ledger, configured: Settings, holder: str = "here/") -> AuditExporter:
    return AuditExporter(configured, ledger, holder=holder, pause=lambda _: 0.05)


@contextmanager
def exporting(*exporters: AuditExporter) -> Iterator[None]:
    stopping = threading.Event()
    threads = [threading.Thread(target=each.run, args=(stopping,)) for each in exporters]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def parsed(message: str) -> ET.Element:
    return ET.fromstring(message.partition("\ufeff")[2])  # noqa: S314 -- our own


def users(messages: list[str]) -> list[str]:
    """Return who is in each message, in order."""
    return [
        str(person.get("UserID"))
        for each in messages
        for person in parsed(each).findall("ActiveParticipant")
    ]


def expected(count: int) -> list[str]:
    return [f"user-{n}" for n in range(count)]


def without_repeats(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def failures(fault: str) -> float:
    return REGISTRY.get_sample_value("lobar_audit_export_failures_total", {"fault": fault}) or 0


def pending(ledger: Ledger, configured: Settings, folder: Path) -> float:
    spool = Spool(folder / "spool")
    spool.prepare()
    for family in LedgerMetrics(configured, ledger, spool).collect():
        if family.name == "lobar_audit_export_pending":
            return float(family.samples[0].value)
    raise AssertionError


def test_a_message_arrives_as_ps3_15_a_6_wants_it(ledger: Ledger, rsyslog: Rsyslog) -> None:
    append(ledger, 1)
    ledger.audit.append(replace(VIEWED, outcome=AuditOutcome.FAILURE))
    with rsyslog:
        assert exporter(ledger, settings(rsyslog.port)).export_due() == 2
        wait_for(lambda: len(rsyslog.messages) == 2)
    notice, warning = rsyslog.messages
    header = notice.partition("\ufeff")[0]
    assert re.fullmatch(r"<85>1 2025-11-29T14:00:00\.250000Z \S+ lobar - DICOM\+RFC3881 - ", header)
    assert warning.startswith("<84>1 ")
    root = parsed(notice)
    assert root.tag == "AuditMessage"
    objects = root.findall("ParticipantObjectIdentification")
    assert [each.get("ParticipantObjectID") for each in objects] == ["1.2.3", "PAT-é"]


def test_more_than_a_batch_arrives_in_order_and_once(ledger: Ledger, rsyslog: Rsyslog) -> None:
    count = 2 * BATCH + 7
    append(ledger, count)
    with rsyslog:
        export = exporter(ledger, settings(rsyslog.port))
        assert [export.export_due() for _ in range(4)] == [BATCH, BATCH, 7, 0]
        wait_for(lambda: len(rsyslog.messages) == count)
    assert users(rsyslog.messages) == expected(count)
    assert ledger.audit_export.state().exported == count


def test_nothing_is_lost_while_the_server_is_down(
    ledger: Ledger, rsyslog: Rsyslog, tmp_path: Path
) -> None:
    configured = settings(rsyslog.port)
    before = failures("unreachable")
    with exporting(exporter(ledger, configured)):
        rsyslog.start()
        append(ledger, 5)
        wait_for(lambda: len(rsyslog.messages) == 5)
        rsyslog.stop()
        append(ledger, 5, first=5)
        wait_for(lambda: ledger.audit_export.state().failures > 1)
        state = ledger.audit_export.state()
        assert (state.exported, state.fault) == (5, "unreachable")
        assert pending(ledger, configured, tmp_path) == 5
        assert failures("unreachable") > before
        rsyslog.start()
        wait_for(lambda: ledger.audit_export.state().exported == 10)
        wait_for(lambda: len(rsyslog.messages) == 10)
        rsyslog.stop()
    assert users(rsyslog.messages) == expected(10)
    assert pending(ledger, configured, tmp_path) == 0


def test_nothing_is_lost_whenever_the_server_stops(ledger: Ledger, rsyslog: Rsyslog) -> None:
    """It stops and starts in the middle of batches: messages may come twice, in order."""
    count = 3 * BATCH
    append(ledger, count)
    with exporting(exporter(ledger, settings(rsyslog.port))):
        for _ in range(3):
            rsyslog.start()
            time.sleep(0.02)
            rsyslog.stop()
        rsyslog.start()
        wait_for(lambda: ledger.audit_export.state().exported == count)
        wait_for(lambda: len(set(users(rsyslog.messages))) == count)
        rsyslog.stop()
    assert without_repeats(users(rsyslog.messages)) == expected(count)


def test_of_several_relays_one_exports(ledger: Ledger, rsyslog: Rsyslog) -> None:
    relays = [exporter(ledger, settings(rsyslog.port), f"relay/{n}/") for n in range(3)]
    with rsyslog, exporting(*relays):
        append(ledger, 60)
        wait_for(lambda: len(rsyslog.messages) >= 60)
    assert users(rsyslog.messages) == expected(60)


def test_a_relay_that_dies_in_the_middle_is_succeeded(ledger: Ledger, rsyslog: Rsyslog) -> None:
    append(ledger, 3)
    assert ledger.audit_export.lease("dead/", 600) is not None
    alive = exporter(ledger, settings(rsyslog.port), "alive/")
    with rsyslog:
        assert alive.export_due() == 0
        ledger.release("dead/")
        assert alive.export_due() == 3
        wait_for(lambda: len(rsyslog.messages) == 3)


def test_over_tls_both_sides_show_their_certificates(
    ledger: Ledger, authority: Authority, tmp_path: Path
) -> None:
    own, client = authority.issue("syslog-server"), authority.issue("syslog-client")
    tls = Tls(authority=authority.certificate, certificate=own, clients=True)
    append(ledger, 300)
    with Rsyslog(tmp_path / "tls", tls) as server:
        configured = settings(
            server.port,
            "tls",
            ca_file=authority.certificate,
            client_certificate_file=client.certificate,
            client_key_file=client.key,
        )
        assert re.search(
            r" answers over TLSv1\.[23]$", SyslogServer(configured.audit).try_connection()
        )
        export = exporter(ledger, configured)
        assert [export.export_due() for _ in range(3)] == [BATCH, 300 - BATCH, 0]
        wait_for(lambda: len(server.messages) == 300)
    assert users(server.messages) == expected(300)


def test_a_server_whose_certificate_is_not_trusted_gets_nothing(
    ledger: Ledger, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    tls = Tls(authority=stranger.certificate, certificate=stranger.issue("strange-server"))
    append(ledger, 2)
    before = failures("certificate")
    with Rsyslog(tmp_path / "tls", tls) as server:
        configured = settings(server.port, "tls", ca_file=authority.certificate)
        with capture_logs() as logs:
            assert exporter(ledger, configured).export_due() == 0
        with pytest.raises(SyslogError, match="certificate"):
            SyslogServer(configured.audit).try_connection()
        assert server.messages == []
    assert failures("certificate") == before + 1
    assert ledger.audit_export.state().fault == "certificate"
    assert pending(ledger, configured, tmp_path) == 2
    (event,) = logs
    assert (event["event"], event["fault"]) == ("audit_export_failed", "certificate")
    assert "PAT" not in str(logs)


def test_a_server_that_refuses_the_client_has_taken_nothing(
    ledger: Ledger, authority: Authority, tmp_path: Path
) -> None:
    """The TLS 1.3 handshake is over for the client before the server refuses its certificate."""
    wrong = Authority(tmp_path, "stranger").issue("strange-client")
    own = authority.issue("syslog-server")
    tls = Tls(authority=authority.certificate, certificate=own, clients=True)
    append(ledger, 2)
    with Rsyslog(tmp_path / "tls", tls) as server:
        with_wrong = {"client_certificate_file": wrong.certificate, "client_key_file": wrong.key}
        for files in ({}, with_wrong):
            configured = settings(server.port, "tls", ca_file=authority.certificate, **files)
            for _ in range(5):
                with pytest.raises(SyslogError) as refused:
                    SyslogServer(configured.audit).try_connection()
                assert refused.value.fault in {SyslogFault.CERTIFICATE, SyslogFault.BROKEN}
                leased = ledger.audit_export.state().failures
                wait_for(lambda: ledger.audit_export.state().due_at <= time.time())
                assert exporter(ledger, configured).export_due() == 0
                assert ledger.audit_export.state().failures == leased + 1
    assert ledger.audit_export.state().exported == 0
    assert server.messages == []


def test_over_udp_messages_are_sent_and_nobody_knows(ledger: Ledger, tmp_path: Path) -> None:
    append(ledger, 3)
    with Rsyslog(tmp_path / "udp", udp=True) as server:
        configured = settings(server.port, "udp")
        assert "not checked" in SyslogServer(configured.audit).try_connection()
        assert exporter(ledger, configured).export_due() == 3
        wait_for(lambda: len(server.messages) == 3)
    assert users(server.messages) == expected(3)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_server_that_accepts_and_says_nothing_is_given_up(ledger: Ledger, transport: str) -> None:
    append(ledger, 1)
    with socket.create_server((LOOPBACK, 0)) as silent:
        configured = settings(silent.getsockname()[1], transport, syslog_seconds=0.2)
        assert exporter(ledger, configured).export_due() == 0
    state = ledger.audit_export.state()
    assert (state.fault, state.exported) == ("no-answer", 0)


def test_a_server_that_closes_without_reading_has_taken_nothing(ledger: Ledger) -> None:
    append(ledger, 1)
    with socket.create_server((LOOPBACK, 0)) as rude:

        def close_at_once() -> None:
            connection, _ = rude.accept()
            wait_for(lambda: bool(connection.recv(1, socket.MSG_PEEK)))
            connection.close()

        thread = threading.Thread(target=close_at_once)
        thread.start()
        export = exporter(ledger, settings(rude.getsockname()[1]))
        assert export.export_due() == 0
        thread.join()
    assert ledger.audit_export.state().fault == "broken"


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    for content in (None, "no certificate"):
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)
        configured = settings(free_port(), "tls", ca_file=file)
        with pytest.raises(SyslogError, match=re.escape(str(file))) as refused:
            SyslogServer(configured.audit).try_connection()
        assert refused.value.fault is SyslogFault.CERTIFICATE


def test_a_host_without_an_address_cannot_be_reached() -> None:
    configured = Settings(
        audit=AuditSettings(syslog_host="nowhere.invalid", syslog_transport="tcp", syslog_seconds=5)
    )
    with pytest.raises(SyslogError, match="cannot be reached") as refused:
        SyslogServer(configured.audit).try_connection()
    assert refused.value.fault is SyslogFault.UNREACHABLE
