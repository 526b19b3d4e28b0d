"""DCMTK's programs, an independent implementation of DICOM: as senders and as receivers."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pydicom
import pytest
from pydicom.dataset import Dataset
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from support.system.programs import need_program

STORE_SECONDS: Final = 120


def dcmtk_store(
    port: int, ae_title: str, files: Sequence[Path], *options: str
) -> subprocess.CompletedProcess[str]:
    """Store DICOM files with `storescu` on a port of 127.0.0.1, in the syntax each is stored in.

    Exactly the presentation contexts that the files need are proposed, because storescu by itself
    proposes uncompressed syntaxes only. Not all syntaxes of the standard: DCMTK 3.6.7 neither
    reads nor sends HTJ2K.
    """
    profile = files[0].with_name("storescu-contexts.cfg")
    profile.write_text(_association_profile(files))
    arguments = ["--config-file", str(profile), "Needed", "--call", ae_title, *options]
    arguments += [LOOPBACK, str(port), *map(str, files)]
    try:
        return subprocess.run(
            [need_program("storescu"), "--verbose", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=STORE_SECONDS,
        )
    finally:
        profile.unlink()


def _association_profile(files: Sequence[Path]) -> str:
    """Write DCMTK's negotiation profile (its asconfig.txt) with one context per need."""
    metas = [pydicom.filereader.read_file_meta_info(file) for file in files]
    needs = sorted({(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) for meta in metas})
    syntaxes = sorted({syntax for _, syntax in needs})
    lines = ["[[TransferSyntaxes]]"]
    for number, syntax in enumerate(syntaxes, 1):
        lines += [f"[Syntax{number}]", f"TransferSyntax1 = {syntax}"]
    lines += ["[[PresentationContexts]]", "[Contexts]"]
    for number, (sop_class, syntax) in enumerate(needs, 1):
        lines.append(
            f"PresentationContext{number} = {sop_class}\\Syntax{syntaxes.index(syntax) + 1}"
        )
    lines += ["[[Profiles]]", "[Needed]", "PresentationContexts = Contexts"]
    return "\n".join(lines) + "\n"


class StoreSCP:
    """A running `storescp`: it writes each instance to a folder, as it was sent."""

    ae_title: Final = "STORESCP"
    host: Final = LOOPBACK

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder / "received"
        self.folder.mkdir()
        self.port = free_port()
        arguments = ["--aetitle", self.ae_title, "--accept-all", "--bit-preserving"]
        arguments += ["--output-directory", str(self.folder), *options, str(self.port)]
        self._server = Server(
            [need_program("storescp"), "--verbose", *arguments],
            log=folder / "storescp.log",
            answers=lambda: accepts_connections(self.port),
        )
        self.start = self._server.start
        self.stop = self._server.stop
        self.kill = self._server.kill
        self.log_tail = self._server.log_tail

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._server.running

    def received(self) -> list[Path]:
        """List the DICOM files that were received, sorted by name."""
        return sorted(self.folder.iterdir())


class QueryRetrieveSCP:
    """A running `dcmqrscp`: an archive to store to, search and retrieve from.

    It stores objects bit by bit in its own storage area, and accepts only known AE titles:
    `calling` from this machine, and DCMTK's own `findscu`, `getscu` and `movescu`.
    """

    ae_title: Final = "DCMQRSCP"
    host: Final = LOOPBACK

    def __init__(self, folder: Path, calling: str) -> None:
        self.port, self._move_port = free_port(), free_port()
        self._folder = folder
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(self._configuration(calling))
        arguments = ["--config", str(configuration), "--bit-preserving"]
        self._server = Server(
            [need_program("dcmqrscp"), "--verbose", *arguments, str(self.port)],
            log=folder / "dcmqrscp.log",
            answers=lambda: accepts_connections(self.port),
        )
        self.start = self._server.start
        self.kill = self._server.kill
        self.log_tail = self._server.log_tail

    def find(self, level: str, **keys: str) -> list[Dataset]:
        """Search with `findscu` at a level of the study root; empty keys are asked for."""
        found = self._asking("findscu", "--extract", keys={"QueryRetrieveLevel": level, **keys})
        return [pydicom.dcmread(file, force=True) for file in found]

    def get(self, **keys: str) -> list[Path]:
        """Retrieve with `getscu`; return the files as they were sent."""
        return self._asking("getscu", "--bit-preserving", keys=keys)

    def move(self, **keys: str) -> list[Path]:
        """Retrieve with `movescu`, to which the archive opens an association of its own."""
        to_us = ["--port", str(self._move_port), "--move", "MOVESCU"]
        return self._asking("movescu", "--bit-preserving", *to_us, keys=keys)

    def _asking(self, program: str, *options: str, keys: Mapping[str, str]) -> list[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        asked = [part for key, value in keys.items() for part in ("--key", f"{key}={value}")]
        who = ["--aetitle", program.upper(), "--call", self.ae_title]
        where = ["--output-directory", str(folder), self.host, str(self.port)]
        subprocess.run(
            [need_program(program), "--study", *options, *who, *asked, *where],
            check=True,
            capture_output=True,
            timeout=STORE_SECONDS,
            cwd=folder,  # where movescu writes files, whatever folder it is given
        )
        return sorted(folder.iterdir())

    def _configuration(self, calling: str) -> str:
        area = self._folder / "area"
        area.mkdir()
        known = {"lobar": calling, "find": "FINDSCU", "get": "GETSCU", "move": "MOVESCU"}
        hosts = [f"{name} = ({ae}, localhost, {self._move_port})" for name, ae in known.items()]
        return "\n".join(
            (
                "MaxPDUSize = 16384",
                "MaxAssociations = 16",
                "HostTable BEGIN",
                *hosts,
                f"everybody = {', '.join(known)}",
                "HostTable END",
                "VendorTable BEGIN",
                "VendorTable END",
                "AETable BEGIN",
                f"{self.ae_title} {area} RW (200, 1024mb) everybody",
                "AETable END",
                "",
            )
        )


@pytest.fixture(name="dcmtk_store")
def _dcmtk_store() -> Callable[..., subprocess.CompletedProcess[str]]:
    need_program("storescu")
    return dcmtk_store


@pytest.fixture
def storescp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StoreSCP]]:
    """`storescp(*options)` starts a receiver of its own; a test may stop, start or kill it.

    Options are the program's: `--refuse`, `--abort-after`, `--sleep-after 5` and so on.
    """
    servers: list[StoreSCP] = []

    def start(*options: str) -> StoreSCP:
        server = StoreSCP(tmp_path_factory.mktemp("storescp"), *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def dcmqrscp(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], QueryRetrieveSCP]]:
    """`dcmqrscp(calling)` starts an archive of the test's own that knows this AE title."""
    servers: list[QueryRetrieveSCP] = []

    def start(calling: str) -> QueryRetrieveSCP:
        servers.append(QueryRetrieveSCP(tmp_path_factory.mktemp("dcmqrscp"), calling))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
