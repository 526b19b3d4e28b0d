"""A running service is backed up, goes on, is killed and restored elsewhere: nothing is lost."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from pydicom import dcmread
from support.foreign_bundle import make_bundle
from support.lobar_process import LobarService, destination, wait_for

from service.domain.job import JobState

pytestmark = [pytest.mark.dcmtk, pytest.mark.postgresql]


def sources(receiver: StoreSCP) -> list[str]:
    """Return the instance of which each report is that arrived; one file for each report's UID."""
    found = []
    for path in receiver.received():
        dataset = dcmread(path, force=True)
        if dataset.get("Modality") == "SR":
            (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
            (series,) = study.ReferencedSeriesSequence
            (reference,) = series.ReferencedSOPSequence
            found.append(str(reference.ReferencedSOPInstanceUID))
    return found


def lobar(service: LobarService, *words: str) -> str:
    command = [*service.command_prefix(), sys.executable, "-m", "service.cli", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.full)], ids="from {}".format
)
def test_a_service_restored_elsewhere_loses_and_doubles_nothing(
    kind: str,
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    instances: Callable[[int], list[tuple[Path, Any]]],
    store: Callable[..., int],
    tmp_path: Path,
    postgresql_url: str,
) -> None:
    receiver = storescp()
    pacs = destination(receiver, "pacs")
    bundle = {"LOBAR_BUNDLE__PATH": str(make_bundle(tmp_path / "bundle"))}
    database = {"LOBAR_LEDGER__URL": postgresql_url}
    here = lobar_service([pacs], **bundle, **(database if kind == "postgresql" else {}))
    made = instances(9)
    wanted = sorted(str(dataset.SOPInstanceUID) for _, dataset in made)
    delivered, waiting, later = made[:3], made[3:6], made[6:]

    assert store(here, *(file for file, _ in delivered)) == 0
    wait_for(lambda: len(sources(receiver)) == len(delivered))
    receiver.stop()
    assert store(here, *(file for file, _ in waiting)) == 0
    said = lobar(here, "backup", str(tmp_path / "backup"))
    assert "0 files were missing" in said
    receiver.start()
    assert store(here, *(file for file, _ in later)) == 0
    wait_for(lambda: len(sources(receiver)) > len(delivered) + 1)  # after the backup
    here.kill()

    folder = tmp_path / "elsewhere"
    folder.mkdir()
    there = LobarService(folder, [pacs], **bundle, **(database if kind == "sqlite" else {}))
    try:
        assert "restored" in lobar(there, "restore", str(tmp_path / "backup"))
        there.start()
        assert store(there, *(file for file, _ in made)) == 0, "the senders store again"
        for _, dataset in made:
            assert there.settled(dataset.SOPInstanceUID).state is JobState.DELIVERED
        assert there.balance() == 0
        assert len(there.all_jobs()) == len(made)
    finally:
        there.kill()
    assert sorted(sources(receiver)) == wanted, "each has one report, under one UID"
