"""Fixtures of the fault tests: instances on disk, and a storescu to send them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers.dcmtk import StoreSCP, dcmtk_store
from pydicom.dataset import Dataset
from support.lobar_process import LobarService
from support.system.programs import need_program
from synthetic.objects import make_cr


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSCP]:
    """Start a destination that the tests of a module share."""
    server = StoreSCP(tmp_path_factory.mktemp("storescp"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def instances(tmp_path: Path) -> Callable[[int], list[tuple[Path, Dataset]]]:
    """Make n instances on disk."""

    def make(count: int) -> list[tuple[Path, Dataset]]:
        made = []
        for number in range(count):
            dataset = make_cr()
            path = tmp_path / f"{number}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            made.append((path, dataset))
        return made

    return make


@pytest.fixture
def store() -> Callable[..., int]:
    """Send files with storescu and return its exit status."""
    need_program("storescu")

    def send(service: LobarService, *files: Path) -> int:
        return dcmtk_store(service.dicom_port, service.ae_title, files).returncode

    return send
