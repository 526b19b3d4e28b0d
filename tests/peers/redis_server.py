"""A Redis for tests: the system's, else the Valkey that Lobar starts; or that Valkey.

A test for both is marked with:
`@pytest.mark.parametrize("redis_server", ["redis", "valkey"], indirect=True)`.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import redis
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from support.system.programs import find_program

from service.dispatch.embedded_redis import redis_program


class RedisServer:
    """A Redis on loopback without persistence: stopped or killed, it loses all data."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.program = program
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        command: list[str | Path] = [
            program,
            *("--bind", LOOPBACK, "--port", str(self.port), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        ]
        self._server = Server(
            command, log=folder / "redis.log", answers=lambda: accepts_connections(self.port)
        )
        self.start = self._server.start
        self.stop = self._server.stop
        self.kill = self._server.kill

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._server.running

    @property
    def pid(self) -> int:
        """The process id."""
        return self._server.pid

    def flush(self) -> None:
        """Remove every key of every database."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


def program_of(kind: str) -> Path:
    """Return the program of a "redis", the system's where it has one, or of a "valkey"."""
    system = find_program("redis-server") if kind == "redis" else None
    return system or redis_program()


@pytest.fixture(scope="session")
def _redis_servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], RedisServer]]:
    made: list[RedisServer] = []

    @cache
    def server_of(kind: str) -> RedisServer:
        made.append(RedisServer(tmp_path_factory.mktemp(kind), program_of(kind)))
        return made[-1]

    yield server_of
    for each in made:
        each.kill()


@pytest.fixture
def redis_server(
    request: pytest.FixtureRequest, _redis_servers: Callable[[str], RedisServer]
) -> RedisServer:
    """A running, empty Redis (or "valkey" as a parameter); a test may stop, start or kill it."""
    server = _redis_servers(getattr(request, "param", "redis"))
    server.start()
    server.flush()
    return server
