"""What the parts of a whole service take: who gives way to whom, and who loads what."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from peers.dcmtk import dcmtk_store
from support.lobar_process import LobarService
from synthetic.objects import make_cr


@pytest.fixture(scope="module")
def lobar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LobarService]:
    service = LobarService(tmp_path_factory.mktemp("lobar"))
    service.start()
    yield service
    service.kill()


def niceness(processes: Iterable[psutil.Process]) -> set[int]:
    """Return how far the threads of processes give way."""
    threads = [thread.id for process in processes for thread in process.threads()]
    return {os.getpriority(os.PRIO_PROCESS, each) for each in threads}


@pytest.mark.dcmtk
def test_the_infer_worker_and_its_decoders_give_way_to_the_other_parts(
    lobar: LobarService, tmp_path: Path
) -> None:
    instance, file = make_cr(), tmp_path / "one.dcm"
    instance.save_as(file, enforce_file_format=True)
    assert dcmtk_store(lobar.dicom_port, lobar.ae_title, [file]).returncode == 0
    lobar.settled(instance.SOPInstanceUID)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    worker = psutil.Process(lobar.part("infer"))
    decoders = worker.children(recursive=True)
    assert len(decoders) > 1, "their template, and what was forked from it"
    assert niceness([worker, *decoders]) == {max(own, 10)}
    others = [psutil.Process(lobar.part(role)) for role in ("listener", "web", "deliver", "relay")]
    assert niceness(others) == {own}


@pytest.mark.parametrize("role", ["listener", "deliver"])
def test_parts_that_decode_no_pixels_load_no_libraries_for_them(
    lobar: LobarService, role: str
) -> None:
    loaded = Path(f"/proc/{lobar.part(role)}/maps").read_text()
    assert "pydantic_core" in loaded
    assert not [name for name in ("numpy", "PIL/") if name in loaded]
