"""DCMTK's programs, another implementation of DICOM than ours: to store from and to store to."""

import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pydicom
import pytest

from peers.ports import LOOPBACK, accepts_connections, free_port
from peers.process import Server
from peers.programs import need_program

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
    """A running `storescp`: it puts what it is sent into a folder, as it was sent."""

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
        """Whether the process lives."""
        return self._server.running

    def received(self) -> list[Path]:
        """The DICOM files that were received, in the order of their names."""
        return sorted(self.folder.iterdir())


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
