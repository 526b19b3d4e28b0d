"""One node: a whole service on a machine of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from peers.faketime import WallClock
from sqlalchemy import Engine, text

from service.domain.part import PartName
from service.health_check import ask
from service.storage.ledger import Ledger
from support.containers.network import Network
from support.lobar_process import LobarService, processes_of, wait_for
from support.system.programs import need_program

# host name, shared spool, its place in the state directory; then the command
_BECOME_A_MACHINE: Final = """
set -e
hostname "$1"
mount --make-rprivate /
[ -z "$2" ] || mount --bind "$2" "$3"
shift 3
exec "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a node is: what surrounds it, and what makes its machine differ from others."""

    folder: Path
    network: Network
    engine: Engine  # of the ledger, as this process reaches it
    destination: dict[str, Any]
    uptime_seconds: int  # more than this machine's


class Node(LobarService):
    """One node: `lobar up` with all parts, or some, on a machine of its own."""

    def __init__(
        self,
        place: Place,
        name: str,
        *,
        clock: WallClock | None = None,
        parts: Sequence[PartName] = tuple(PartName),
        spool: Path | None,
        source: Path | None = None,
        host_name: str = "",
        **settings: str,
    ) -> None:
        self.name = name
        self.host_name = host_name or name
        self.clock = clock
        self._place = place
        self._parts = parts
        self._spool = spool
        folder = place.folder / name
        folder.mkdir()
        super().__init__(
            folder,
            [place.destination],
            **settings,
        )
        if source is not None:
            self.environment["PYTHONPATH"] = f"{source}:{self.environment['PYTHONPATH']}"
        if clock is not None:
            self.environment |= clock.environment(self.environment["PYTHONPATH"])
        (self.state_dir / "spool").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._prepare_server()

    def _prepare_server(self) -> None:
        super()._prepare_server()
        which = [] if len(self._parts) == len(PartName) else [f"--part={p}" for p in self._parts]
        command = self._server.command
        command.insert(command.index("-m"), "-P")  # the version of PYTHONPATH, not of this folder
        command += which
        self.stop = self._terminate

    def command_prefix(self) -> list[str]:
        """Return the beginning of a command line that runs on this machine."""
        spool = "" if self._spool is None else str(self._spool)
        return [
            *self._place.network.command(self.name),
            *(str(need_program("unshare")), "--uts", "--pid", "--mount", "--mount-proc"),
            *("--time", "--boottime", str(self._place.uptime_seconds)),
            *("--fork", "--kill-child", "bash", "-c", _BECOME_A_MACHINE, "machine"),
            *(self.host_name, spool, str(self.state_dir / "spool")),
            *super().command_prefix(),
        ]

    def is_ready(self) -> bool:
        """Whether each part of this node is ready, whatever runs on the others."""
        socket = self.state_dir / "health.sock"
        return all(ask(socket, f"/health/ready?part={each}")[0] == 0 for each in self._parts)

    def ledger(self) -> Ledger:
        """Open the ledger from outside the network. The caller closes it."""
        return Ledger(self._place.engine.url.render_as_string(hide_password=False))

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of lobar on this machine, while it runs."""
        environment = [f"{name}={value}" for name, value in self.environment.items()]
        return subprocess.run(
            [
                *("nsenter", "--target", str(self._first_process()), "--all", "--"),
                *("env", *environment, sys.executable, "-P", "-m", "service.cli", *words),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def holds(self, role: PartName) -> bool:
        """Whether a process of this role on this node holds a lease."""
        table = "jobs" if role is PartName.INFER else "deliveries"
        query = text(f"SELECT count(*) FROM {table} WHERE holder LIKE :holder")  # noqa: S608 -- of two
        with self._place.engine.connect() as connection:
            holder = f"{self.host_name}/{role}/%"
            return bool(connection.execute(query, {"holder": holder}).scalar_one())

    def freeze_at_work(self, role: PartName, seconds: float = 1.0) -> bool:
        """Stop the process of a role while it holds a lease; return False if it held none."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.holds(role):
                self.freeze(role)
                if self.holds(role):
                    return True
                self.thaw(role)
            time.sleep(0.002)
        return False

    def end(self, role: PartName) -> None:
        """Kill the process of a role; its supervisor starts another."""
        os.kill(self._process_of(role), signal.SIGKILL)

    def freeze(self, role: PartName) -> None:
        """Stop the process of a role where it is."""
        os.kill(self._process_of(role), signal.SIGSTOP)

    def thaw(self, role: PartName) -> None:
        """Let the process of a role go on."""
        os.kill(self._process_of(role), signal.SIGCONT)

    def _process_of(self, role: PartName) -> int:
        """Find the process of a part by its command line, as seen from outside."""
        words = {
            PartName.INFER: b"worker\0infer",
            PartName.DELIVER: b"worker\0deliver",
        }.get(role, role.encode())
        for pid in processes_of(self.state_dir):
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                is_it = line.endswith(b"service.cli\0" + words + b"\0")
                if is_it and _parent(pid) == self._first_process():
                    return pid
        raise LookupError(f"no {role} runs on {self.name}")

    def _first_process(self) -> int:
        """Return the process that is number 1 on this machine."""
        pid = self.pid
        (first,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(first)

    def _terminate(self) -> None:
        """Send SIGTERM to `lobar up`, and wait until the machine has ended."""
        with suppress(OSError, ValueError):
            os.kill(self._first_process(), signal.SIGTERM)
        wait_for(lambda: not self._server.running)
        self.kill()


def _parent(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_text()
    return int(status.rsplit(")", 1)[1].split()[1])
