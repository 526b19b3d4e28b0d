"""Health and metrics on addresses of their own."""

import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from support.lobar_process import wait_for
from support.system.http import HTTP
from support.system.ports import LOOPBACK, free_port

from service.health_check import LIVE, READY, ask
from service.settings import ConfigurationError, Settings
from service.storage.opening import open_stores
from service.telemetry.heartbeat import HeartbeatSender
from service.telemetry.progress import Progress
from service.web.health import NEEDED_ROLES
from service.web.serving.health_server import serving_health
from service.web.serving.unix_socket import listening_on

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def health(folder: Path, **options: object) -> Iterator[Settings]:
    settings = Settings(state_dir=folder, spool={"reserve_bytes": 0}, health=options)
    with open_stores(settings) as (_, spool), serving_health(settings, spool):
        wait_for(lambda: ask(settings.health_socket, LIVE)[0] == 0)
        yield settings


def test_a_socket_in_the_state_directory_answers_what_is_missing_and_then_that_it_is_ready(
    tmp_path: Path,
) -> None:
    folder = tmp_path / ("long" * 40) / "state"  # longer than the address of a socket may be
    with health(folder) as settings:
        assert ask(settings.health_socket, LIVE) == (0, "live")
        status, line = ask(settings.health_socket, READY)
        assert (status, "listener: no process is ready" in line) == (1, True)
        assert stat.S_IMODE(settings.health_socket.stat().st_mode) == 0o600
        with open_stores(settings) as (ledger, _):
            senders = [
                HeartbeatSender(ledger, role, lambda: True, Progress()) for role in NEEDED_ROLES
            ]
            for each in senders:
                each.__enter__()
            wait_for(lambda: ask(settings.health_socket) == (0, "ready"))
            for each in senders:
                each.__exit__(None, None, None)
        command = [sys.executable, "-P", "-m", "service.health_check"]
        done = subprocess.run(
            [*command, settings.health_socket, "--live"],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (0, "live\n")
    assert not settings.health_socket.exists()
    status, line = ask(settings.health_socket)
    assert (status, "Is the service running?" in line) == (1, True)


def test_the_check_imports_nothing_but_the_standard_library() -> None:
    # what a virtual environment imports at start is not ours
    program = (
        "old = set(sys.modules); import service.health_check; print(*sys.modules.keys() - old)"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "http" in loaded
    assert loaded - {"service"} <= sys.stdlib_module_names


def test_a_port_answers_too_where_one_is_set(tmp_path: Path) -> None:
    port = free_port()
    with health(tmp_path / "state", port=port):
        answered = HTTP.get(f"http://{LOOPBACK}:{port}/metrics")
        assert "lobar_balance 0.0" in answered.text
        assert HTTP.get(f"http://{LOOPBACK}:{port}/").status_code == httpx.codes.NOT_FOUND


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    port = free_port()
    with (
        socket.create_server((LOOPBACK, port)),
        pytest.raises(ConfigurationError, match=rf"health\.port {port}"),
        health(tmp_path / "state", port=port),
    ):
        pytest.fail("it was served")


def test_the_socket_may_lie_elsewhere_for_a_group(tmp_path: Path) -> None:
    with health(tmp_path / "state", socket=tmp_path / "h.sock", socket_for_group=True) as settings:
        assert settings.health_socket == tmp_path / "h.sock"
        assert stat.S_IMODE(settings.health_socket.stat().st_mode) == 0o660


def test_a_socket_that_cannot_be_made_does_not_keep_the_port_from_being_served(
    tmp_path: Path,
) -> None:
    port = free_port()
    settings = Settings(
        state_dir=tmp_path / "state",
        health={"socket": tmp_path / "nowhere" / "h.sock", "port": port},
        spool={"reserve_bytes": 0},
    )
    with open_stores(settings) as (_, spool), serving_health(settings, spool):
        assert HTTP.get(f"http://{LOOPBACK}:{port}/health/live").json() == {"live": True}


def test_the_socket_of_an_ended_process_is_replaced_and_that_of_a_later_one_is_left(
    tmp_path: Path,
) -> None:
    path = tmp_path / "health.sock"
    with listening_on(path, for_group=False) as first:
        with closing(first):
            pass  # as a killed process leaves it
        with listening_on(path, for_group=False):
            assert path.is_socket()
        assert not path.exists()
        path.touch()
    assert path.exists(), "it is another process'"


def test_something_else_that_answers_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening_on(path, for_group=False):
        status, line = ask(path, seconds=0.2)
    assert (status, "no answer in time" in line) == (1, True)
