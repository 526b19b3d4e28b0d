"""`lobar up --part` runs some parts, where others run on other machines."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from peers.redis_server import RedisServer
from support.lobar_process import wait_for
from support.system.process import Server

from service.domain.part import PartName
from service.errors import EX_CONFIG
from service.health_check import LIVE, ask
from service.receiving.shared_listening import Sharing
from service.supervision.up import parts_of_machine

SHARE = Sharing(number=1, listeners=1, memory=5, sockets=[6])


def settings(folder: Path, **more: str) -> dict[str, str]:
    configuration = folder / "lobar.toml"
    configuration.touch()
    return {
        "LOBAR_CONFIG": str(configuration),
        "LOBAR_STATE_DIR": str(folder / "state"),
        "LOBAR_SPOOL__RESERVE_BYTES": "0",
        **more,
    }


@contextmanager
def up(folder: Path, *parts: str, **more: str) -> Iterator[Server]:
    variables = [f"{name}={value}" for name, value in settings(folder, **more).items()]
    command = [sys.executable, "-m", "service.cli", "up", *(f"--part={each}" for each in parts)]
    health = folder / "state" / "health.sock"
    server = Server(
        ["env", *variables, *command],
        log=folder / "lobar.log",
        answers=lambda: ask(health, LIVE)[0] == 0,
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize("part", PartName)
def test_each_part_can_run_by_itself(part: PartName) -> None:
    assert [each.role for each in parts_of_machine(None, [SHARE], [part])] == [part]


def test_only_the_parts_that_are_named_run_and_their_health_is_asked_for_by_name(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    # no other part is allowed to be exposed, and none that is would start
    more = {"LOBAR_REDIS__URL": redis_server.url, "LOBAR_DICOM__HOST": "0.0.0.0"}  # noqa: S104 -- refused, never bound
    with up(tmp_path, "relay", "web", **more):
        health = tmp_path / "state" / "health.sock"
        wait_for(lambda: ask(health, "/health/ready?part=relay")[0] == 0)
        status, line = ask(health)
        assert status == 1
        assert "relay" not in line
        assert "listener: no process is ready" in line
    log = (tmp_path / "lobar.log").read_text()
    assert log.count('"part_started"') == 2


@pytest.mark.parametrize(
    ("parts", "more", "said"),
    [
        (["relay"], {}, "redis.url"),
        (["listener", "relay"], {"LOBAR_DICOM__HOST": "0.0.0.0"}, "list the senders"),  # noqa: S104 -- refused, never bound
        (["web"], {"LOBAR_WEB__HOST": "0.0.0.0"}, "web.allow_non_loopback"),  # noqa: S104 -- refused, never bound
    ],
)
def test_what_the_parts_need_is_said_in_one_line(
    tmp_path: Path, parts: list[str], more: dict[str, str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "up", *(f"--part={each}" for each in parts)],
        env=settings(tmp_path, **more),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = done.stderr.splitlines()
    assert (done.returncode, said in line) == (EX_CONFIG, True)


def test_a_part_that_does_not_exist_is_not_understood(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "up", "--part=everything"],
        env=settings(tmp_path),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "everything" in done.stderr
