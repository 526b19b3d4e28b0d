"""A service that delivers to a real Orthanc, shared by the tests of a file that break nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peers.dcmtk import dcmtk_store
from peers.orthanc import OrthancServer
from pydicom.dataset import Dataset
from support.lobar_process import LobarService, destination
from support.system.programs import need_program


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    server = OrthancServer(tmp_path_factory.mktemp("archive"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def lobar(
    archive: OrthancServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LobarService]:
    service = LobarService(
        tmp_path_factory.mktemp("lobar"),
        [destination(archive, "archive")],
        LOBAR_WEB__MAXIMUM_UPLOAD_BYTES=str(8 << 20),
        LOBAR_BUNDLE__REPORT_POPULATIONS="adults",  # the one real radiograph is of an adult
    )
    service.start()
    yield service
    service.kill()


@pytest.fixture
def store(lobar: LobarService, tmp_path: Path) -> Callable[..., None]:
    """Store data sets with DCMTK's storescu, each in its own transfer syntax."""
    need_program("storescu")

    def send(*instances: Dataset) -> None:
        files = []
        for number, instance in enumerate(instances):
            path = tmp_path / f"{number}.dcm"
            instance.save_as(path, enforce_file_format=True)
            files.append(path)
        sent = dcmtk_store(lobar.dicom_port, lobar.ae_title, files)
        assert sent.returncode == 0, sent.stderr

    return send
