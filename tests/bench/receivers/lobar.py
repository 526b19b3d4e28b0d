"""Lobar's listener without the other parts, with a Redis: what it receives waits in its ledger."""

import sys
from pathlib import Path
from typing import Final

from peers.redis_server import RedisServer, program_of
from support.system.ports import accepts_connections, free_port
from support.system.process import Server

from service.settings import DicomSettings


def has_processes() -> bool:
    """Whether this version of Lobar can have several listener processes."""
    return "processes" in DicomSettings.model_fields


class LobarListener:
    """`lobar listener` as one process, or several on one port."""

    ae_title: Final = "LOBAR"

    def __init__(self, folder: Path, processes: int = 1) -> None:
        self.name = "Lobar" if processes == 1 else f"Lobar, {processes} processes"
        self.port = free_port()
        self.state_dir = folder / "state"
        (folder / "redis").mkdir()
        self._redis = RedisServer(folder / "redis", program_of("valkey"))
        environment = {
            "LOBAR_STATE_DIR": str(self.state_dir),
            "LOBAR_REDIS__URL": self._redis.url,
            "LOBAR_SPOOL__RESERVE_BYTES": "0",
            "LOBAR_DICOM__PORT": str(self.port),
            "LOBAR_DICOM__MAXIMUM_ASSOCIATIONS": "200",
            "LOBAR_DICOM__MAXIMUM_ASSOCIATIONS_PER_AE": "200",
            "LOBAR_DICOM__MAXIMUM_ASSOCIATIONS_PER_ADDRESS": "200",
        }
        if has_processes():
            environment["LOBAR_DICOM__PROCESSES"] = str(processes)
        variables = [f"{name}={value}" for name, value in environment.items()]
        module = ["service.cli", "listener"] if processes == 1 else ["bench.receivers.listeners"]
        self._server = Server(
            ["env", *variables, sys.executable, "-m", *module],
            log=folder / "listener.log",
            answers=lambda: accepts_connections(self.port),
        )

    def start(self) -> None:
        """Start it, its Redis first."""
        self._redis.start()
        self._server.start()

    def kill(self) -> None:
        """End it."""
        self._server.kill()
        self._redis.kill()

    def clear(self) -> None:
        """Remove the bytes that it received; its ledger keeps the rows."""
        for each in (self.state_dir / "spool" / "inbox").glob("??/*"):
            each.unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """Return its processes."""
        return [self._server.pid]
