"""The audit trail of the processes: start and stop of the web server, exported by the relay."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers.redis_server import RedisServer
from peers.rsyslog import Rsyslog
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server

from service.domain.audit import Action, AuditRecord
from service.storage.ledger import Ledger
from service.telemetry.heartbeat import FRESH_SECONDS

Part = Callable[..., Server]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    (tmp_path / "state").mkdir()
    opened = Ledger(f"sqlite:///{tmp_path}/state/ledger.sqlite3")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def part(tmp_path: Path, ledger: Ledger, redis_server: RedisServer) -> Iterator[Part]:
    """`part("relay", syslog_port=…)` is a part of the service as a process of its own."""
    made: list[Server] = []

    def make(name: str, *, syslog_port: int) -> Server:
        web_port = free_port()
        settings = {
            "LOBAR_CONFIG": str(tmp_path / "lobar.toml"),
            "LOBAR_STATE_DIR": str(tmp_path / "state"),
            "LOBAR_REDIS__URL": redis_server.url,
            "LOBAR_WEB__PORT": str(web_port),
            "LOBAR_AUDIT__SYSLOG_HOST": LOOPBACK,
            "LOBAR_AUDIT__SYSLOG_PORT": str(syslog_port),
            "LOBAR_AUDIT__SYSLOG_TRANSPORT": "tcp",
        }
        (tmp_path / "lobar.toml").touch()
        variables = [f"{name}={value}" for name, value in settings.items()]

        def is_there() -> bool:
            beats = ledger.heartbeats.alive(FRESH_SECONDS)
            ready = any(each.role == name and each.ready for each in beats)
            return ready and (name != "web" or accepts_connections(web_port))

        command = ["env", *variables, sys.executable, "-m", "service.cli", name]
        made.append(Server(command, log=tmp_path / f"{name}.log", answers=is_there))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_start_and_stop_of_the_web_server_reach_the_syslog_server(
    part: Part, rsyslog: Rsyslog, ledger: Ledger
) -> None:
    relay, web = (part(name, syslog_port=rsyslog.port) for name in ("relay", "web"))
    with rsyslog:
        relay.start()
        web.start()
        wait_for(lambda: len(rsyslog.messages) == 1)
        web.stop()
        wait_for(lambda: len(rsyslog.messages) == 2)
        relay.stop()
    assert [each.action for each in ledger.audit.recent()] == [Action.STOP, Action.START]
    started, stopped = rsyslog.messages
    assert "Application Start" in started
    assert "Application Stop" in stopped
    assert ledger.audit_export.state().holder is None


def test_a_syslog_server_that_hangs_holds_up_neither_the_relay_nor_its_end(
    part: Part, ledger: Ledger
) -> None:
    ledger.audit.append(AuditRecord(at=7, action=Action.VIEW, user="ann"))
    with socket.create_server((LOOPBACK, 0)) as silent:
        relay = part("relay", syslog_port=silent.getsockname()[1])
        relay.start()
        wait_for(lambda: ledger.audit_export.state().holder is not None)
        (beat,) = ledger.heartbeats.alive(FRESH_SECONDS)
        assert (beat.role, beat.ready) == ("relay", True)
        os.kill(relay.pid, signal.SIGTERM)
        wait_for(lambda: not relay.running)
        assert ledger.audit_export.state().exported == 0
        assert ledger.audit_export.state().holder is None, "released at the end"
        # at once, or after the pause that follows the server's silence
        wait_for(lambda: ledger.audit_export.lease("next/", 9) is not None)
