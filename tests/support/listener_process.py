"""`lobar listener` in a process of its own: what it counts, and what it has open."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server


class ListenerProcess:
    """A listener without the other parts: what it receives waits in its ledger.

    It has no Redis: it cannot notify anybody, and does not need to.
    """

    ae_title: Final = "LOBAR"

    def __init__(self, folder: Path, *, prefix: Sequence[str | Path] = (), **dicom: object) -> None:
        self.state_dir = folder / "state"
        self.port = free_port()
        environment = {
            "LOBAR_STATE_DIR": str(self.state_dir),
            "LOBAR_REDIS__URL": f"redis://{LOOPBACK}:{free_port()}",
            "LOBAR_SPOOL__RESERVE_BYTES": "0",
            "LOBAR_DICOM__PORT": str(self.port),
            **{f"LOBAR_DICOM__{name.upper()}": str(value) for name, value in dicom.items()},
        }
        variables = [f"{name}={value}" for name, value in environment.items()]
        self._server = Server(
            [*prefix, "env", *variables, sys.executable, "-m", "service.cli", "listener"],
            log=folder / "listener.log",
            answers=lambda: accepts_connections(self.port),
        )
        self.start = self._server.start
        self.stop = self._server.stop
        self.kill = self._server.kill
        self.log = self._server.log

    @property
    def pid(self) -> int:
        """Process id of the listener."""
        return self._server.pid

    def threads(self) -> int:
        """Count its threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def sockets(self) -> int:
        """Count its sockets, the listening one included."""
        found = 0
        for each in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found += str(each.readlink()).startswith("socket:")
            except FileNotFoundError:  # closed meanwhile
                continue
        return found

    def received(self) -> list[Path]:
        """List the files that were accepted."""
        return sorted((self.state_dir / "spool" / "inbox").glob("??/*"))

    def incoming(self) -> list[Path]:
        """List the files being received."""
        return sorted((self.state_dir / "spool" / "incoming").iterdir())

    def refusals(self, reason: str) -> float:
        """Return how many associations or connections were refused for a reason."""
        return self._sample("lobar_association_refusals_total", {"reason": reason})

    def waiting(self) -> float:
        """Return how many connections have no association, by its metric."""
        return self._sample("lobar_connections_waiting", {})

    def open_associations(self) -> float:
        """Return how many associations are open, by their metric."""
        return self._sample("lobar_associations_open", {})

    def _sample(self, name: str, labels: dict[str, str]) -> float:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self.state_dir / "metrics"))
        return registry.get_sample_value(name, labels) or 0
