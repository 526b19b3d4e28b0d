"""No response is lost to pynetdicom's reactor thread, however late that thread is.

A thread that is slow to leave its checkpoint stands in for a busy machine.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from peers.dcmtk import StoreSCP
from support.late_reactor import LATE_SECONDS, LateCheckpoint, LateEvent, run_late
from support.lobar_process import wait_for

from service.settings import DimseDestination
from workers.delivery import dimse
from workers.delivery.stored_output import NoResponseError

OBJECTS = 10


def store(peer: StoreSCP, report: Path, *, direct: bool) -> list[int]:
    """Send a report again and again."""
    destination = DimseDestination(
        name="pacs", ae_title=peer.ae_title, host=peer.host, port=peer.port, response_seconds=2
    )
    with dimse.associate(destination, "LOBAR", dimse.OFFERED, direct=direct) as sender:
        return [sender.send(report).status for _ in range(OBJECTS)]


@pytest.mark.dcmtk
@pytest.mark.parametrize("direct", [True, False])
def test_every_response_arrives_however_late_the_reactor_thread_is(
    storescp: Callable[..., StoreSCP],
    report: Path,
    direct: bool,  # noqa: FBT001 -- pytest passes by name
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_late(monkeypatch)
    assert store(storescp(), report, direct=direct) == [0] * OBJECTS


@pytest.mark.dcmtk
def test_with_pynetdicoms_own_checkpoint_a_response_is_lost(
    storescp: Callable[..., StoreSCP], report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, pynetdicom has been fixed and `service/dicom/reactor_pause.py` can go."""
    run_late(monkeypatch, LateEvent)
    with pytest.raises(NoResponseError, match="no-answer"):
        store(storescp(), report, direct=False)


def test_no_thread_passes_a_checkpoint_once_it_is_closed() -> None:
    gate, passed, stop = LateCheckpoint(), [], threading.Event()

    def pass_again_and_again() -> None:
        while not stop.is_set():
            gate.wait()
            passed.append(time.monotonic())

    walker = threading.Thread(target=pass_again_and_again, daemon=True)
    walker.start()
    for _ in range(3):
        gate.close(walker)  # type: ignore[arg-type]
        before = len(passed)
        time.sleep(3 * LATE_SECONDS)
        assert len(passed) == before
        gate.set()
        passed.clear()
        wait_for(lambda: passed)
    stop.set()
    gate.set()
    walker.join(60)
    gate.close(walker)  # type: ignore[arg-type]  # a thread that has ended is not waited for
