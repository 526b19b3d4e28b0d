"""A shadow model beside a whole service: it reads, sends nothing, and is promoted by a setting.

The PACS is a stand-in of pynetdicom. Both bundles are small foreign ones, so that two models start
in the time of one.
"""

import os
import signal
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import dcmtk_store
from peers.scripted_pacs import ScriptedPacs
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.foreign_bundle import make_bundle
from support.lobar_process import LobarService, destination, wait_for
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.domain.monitoring.shadow import Comparison
from service.storage.ledger import Ledger

pytestmark = [pytest.mark.dcmtk, pytest.mark.slow]
LAST = 19  # niceness has no more
OWN, CANDIDATE = "elsewhere_pneumonia 3.1", "candidate 4.0"


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    with ScriptedPacs().running() as running:
        yield running


@pytest.fixture
def lobar(pacs: ScriptedPacs, tmp_path: Path) -> Iterator[LobarService]:
    def renamed(metadata: dict[str, Any]) -> None:
        metadata.update(name="candidate", version="4.0")

    service = LobarService(
        tmp_path,
        [destination(pacs, "pacs")],
        LOBAR_BUNDLE__PATH=str(make_bundle(tmp_path / "own")),
        LOBAR_SHADOW__PATH=str(make_bundle(tmp_path / "candidate", metadata=renamed)),
    )
    service.start()
    yield service
    service.kill()


def send(lobar: LobarService, folder: Path, number: int) -> list[str]:
    """Store so many new instances; return their UIDs."""
    instances = [make_cr() for _ in range(number)]
    files = [folder / f"{each.SOPInstanceUID}.dcm" for each in instances]
    for instance, file in zip(instances, files, strict=True):
        instance.save_as(file, enforce_file_format=True)
    assert dcmtk_store(lobar.dicom_port, lobar.ae_title, files).returncode == 0
    return [str(each.SOPInstanceUID) for each in instances]


def asked(lobar: LobarService, question: Callable[[Ledger], Any]) -> Any:  # noqa: ANN401 -- any result
    ledger = lobar.ledger()
    try:
        return question(ledger)
    finally:
        ledger.close()


def compared(lobar: LobarService, uid: str) -> Comparison:
    """Wait until the shadow model has read an instance."""
    job = lobar.settled(uid)
    found: Comparison = wait_for(lambda: asked(lobar, lambda ledger: ledger.comparisons.of(job.id)))
    return found


def reports(pacs: ScriptedPacs) -> list[Dataset]:
    whole = [dcmread(BytesIO(content), force=True) for _, _, content in pacs.received]
    return [each for each in whole if each.Modality == "SR"]


def models(found: Comparison) -> tuple[str, str]:
    return found.reported.model, found.shadow.model


def test_what_the_shadow_model_says_is_kept_and_never_sent_even_if_it_dies(
    lobar: LobarService, pacs: ScriptedPacs, tmp_path: Path
) -> None:
    first, second = send(lobar, tmp_path, 2)
    assert models(compared(lobar, first)) == (OWN, CANDIDATE)
    assert lobar.settled(first).state is JobState.DELIVERED
    shadow = lobar.part("shadow")
    other = os.getpriority(os.PRIO_PROCESS, lobar.part("infer"))
    behind = os.getpriority(os.PRIO_PROCESS, shadow)
    assert behind == min(LAST, other + 10), "10 behind the other model, or the last of all"
    os.kill(shadow, signal.SIGKILL)
    (third,) = send(lobar, tmp_path, 1)
    assert lobar.settled(third).state is JobState.DELIVERED, "nobody waits for it"
    for uid in (second, third):
        assert models(compared(lobar, uid)) == (OWN, CANDIDATE)

    assert len(pacs.received) == 6, "a report and an overlay each"
    assert {str(each.ManufacturerModelName) for each in reports(pacs)} != set()
    assert all(CANDIDATE.split(maxsplit=1)[0] not in str(each) for each in reports(pacs))
    assert lobar.balance() == 0
    metrics = lobar.metrics()
    assert metrics["lobar_shadow_pending"] == 0
    wait_for(lambda: lobar.metrics()['lobar_process_ready{role="shadow"}'] == 1)
    readings = [value for name, value in metrics.items() if "lobar_shadow_readings_total" in name]
    assert sum(readings) == 3
    assert metrics["lobar_drift_window_instances"] >= 1


@pytest.mark.full
def test_promotion_and_rollback_by_one_setting_lose_no_instance(
    lobar: LobarService, pacs: ScriptedPacs, tmp_path: Path
) -> None:
    (first,) = send(lobar, tmp_path, 1)
    assert models(compared(lobar, first)) == (OWN, CANDIDATE)
    waiting = send(lobar, tmp_path, 12)
    lobar.stop()  # with work in it
    lobar.set(LOBAR_SHADOW__PROMOTED="true")
    lobar.start()
    (promoted,) = send(lobar, tmp_path, 1)
    assert models(compared(lobar, promoted)) == (CANDIDATE, OWN)
    jobs = [lobar.settled(uid) for uid in waiting]
    assert {job.state for job in jobs} == {JobState.DELIVERED}
    assert {job.model for job in jobs} <= {OWN, CANDIDATE}

    lobar.stop()
    lobar.set(LOBAR_SHADOW__PROMOTED="false")
    lobar.start()
    (back,) = send(lobar, tmp_path, 1)
    assert models(compared(lobar, back)) == (OWN, CANDIDATE)
    assert lobar.balance() == 0
    uids = [str(each.SOPInstanceUID) for each in reports(pacs)]
    assert len(set(uids)) == 15, "one report for each instance"
    wait_for(lambda: asked(lobar, lambda ledger: ledger.shadows.pending()) == 0)


@pytest.mark.full
def test_a_shadow_bundle_that_cannot_be_loaded_stops_nothing(
    pacs: ScriptedPacs, tmp_path: Path
) -> None:
    service = LobarService(
        tmp_path,
        [destination(pacs, "pacs")],
        LOBAR_BUNDLE__PATH=str(make_bundle(tmp_path / "own")),
        LOBAR_SHADOW__PATH=str(tmp_path / "nowhere"),
    )
    service.start()
    try:
        (uid,) = send(service, tmp_path, 1)
        assert service.settled(uid).state is JobState.DELIVERED
        wait_for(lambda: "shadow_not_loaded" in service.log.read_text())
        assert asked(service, lambda ledger: ledger.shadows.pending()) == 1
    finally:
        service.kill()
