"""Other receivers at their best, and made durable where they can be: Orthanc, storescp, pynetdicom.

Without a C compiler nothing is preloaded: storescp then does not fsync, and both leave Nagle's
algorithm on. `preloaded` says so.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from peers.orthanc import OrthancServer
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from support.system.programs import find_program

SOURCE: Final = Path(__file__).with_name("durable.c")
_TESTS: Final = Path(__file__).resolve().parents[2]
PDU: Final = 131072
_ASSOCIATIONS: Final = 72  # that Orthanc serves at the same time


class Receiver(Protocol):
    """A DICOM receiver in processes of its own."""

    port: int

    @property
    def name(self) -> str:
        """How the tables name it."""

    @property
    def ae_title(self) -> str:
        """The AE title that it is called by."""

    def start(self) -> None:
        """Start it and wait until it answers."""

    def kill(self) -> None:
        """End it."""

    def clear(self) -> None:
        """Remove what it received."""

    def pids(self) -> list[int]:
        """Return its processes, without those that they started."""


def compiled(folder: Path) -> Path | None:
    """Compile what is preloaded into the peers; None without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "durable.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    run = subprocess.run(command, check=False, capture_output=True)
    return library if run.returncode == 0 else None


def _preloading(library: Path | None, *variables: str) -> list[str]:
    return ["env", f"LD_PRELOAD={library}", *variables] if library else []


class Orthanc:
    """Orthanc with an fsync of each file, no compression, large PDUs and enough threads."""

    name: Final = "Orthanc"
    ae_title: Final = OrthancServer.ae_title

    def __init__(self, folder: Path, library: Path | None) -> None:
        options: dict[str, object] = {
            "StorageCompression": False,
            "SyncStorageArea": True,
            "MaximumPduLength": PDU,
            "DicomThreadsCount": _ASSOCIATIONS,
            # these refuse other machines as the tests' script does, without a call each time
            "LuaScripts": [],
            "DicomAlwaysAllowStore": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {"bench": ["BENCH", LOOPBACK, 104]},
        }
        self._server = OrthancServer(folder, options=options)
        self._server._server.command[-2:-2] = _preloading(library)
        self.port = self._server.dicom_port
        self.start, self.kill, self.clear = (
            self._server.start,
            self._server.kill,
            self._server.reset,
        )

    def pids(self) -> list[int]:
        """Return its processes."""
        return [self._server._server.pid]


class StoreScp:
    """DCMTK's storescp with a process for each association, writing what comes as it comes."""

    name: Final = "storescp --fork"
    ae_title: Final = "STORESCP"
    host: Final = LOOPBACK

    def __init__(self, folder: Path, library: Path | None, *options: str) -> None:
        self.folder = folder / "received"
        self.folder.mkdir()
        self.port = free_port()
        program = find_program("storescp")
        if program is None:
            raise FileNotFoundError("storescp")
        arguments = ["--fork", "--aetitle", self.ae_title, "--accept-all", "--bit-preserving"]
        arguments += ["--max-pdu", str(PDU), "--output-directory", str(self.folder), *options]
        self._server = Server(
            [*_preloading(library, "LOBAR_BENCH_FSYNC=1"), program, *arguments, str(self.port)],
            log=folder / "storescp.log",
            answers=lambda: accepts_connections(self.port),
        )
        self.start, self.kill = self._server.start, self._server.kill

    def clear(self) -> None:
        """Remove what it received."""
        for each in self.folder.iterdir():
            each.unlink(missing_ok=True)

    def pids(self) -> list[int]:
        """Return its processes."""
        return [self._server.pid]


class OwnProgram:
    """A receiver of the benchmark's own, a module that is given a port and a folder."""

    name = ""
    module = ""
    ae_title: Final = "OWN"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "received"
        self.folder.mkdir()
        self.port = free_port()
        self._server = Server(
            [
                *("env", f"PYTHONPATH={_TESTS}", sys.executable),
                *("-m", self.module, str(self.port), str(self.folder)),
            ],
            log=folder / "own.log",
            answers=lambda: accepts_connections(self.port),
        )
        self.start, self.kill = self._server.start, self._server.kill

    clear = StoreScp.clear

    def pids(self) -> list[int]:
        """Return its processes."""
        return [self._server.pid]


class Naive(OwnProgram):
    """pynetdicom as in its examples, which syncs nothing."""

    name = "pynetdicom, not durable"
    module = "bench.receivers.naive"


class Bare(OwnProgram):
    """The least that a durable receiver in Python does: a bound for ours."""

    name = "least Python"
    module = "bench.receivers.bare"


def peers(folder: Path, library: Path | None) -> tuple[Sequence[Receiver], list[str]]:
    """Return the peers that this machine has, not started, and what is said of the others."""
    found: list[Receiver] = []
    left_out: list[str] = []
    for name, program in (("orthanc", "Orthanc"), ("dcmtk", "storescp")):
        own = folder / name
        own.mkdir()
        if find_program(program) is None:
            left_out.append(f"{program}, which is not on this machine (Debian package {name})")
        elif program == "Orthanc":
            found.append(Orthanc(own, library))
        else:
            found.append(StoreScp(own, library))
    for kind in (Bare, Naive):
        own = folder / kind.__name__
        own.mkdir()
        found.append(kind(own))
    if library is None:
        left_out.append(
            "fsync of storescp, and TCP_NODELAY of storescp and Orthanc: no C compiler is here "
            "(Debian packages gcc and libc6-dev)"
        )
    return found, left_out
