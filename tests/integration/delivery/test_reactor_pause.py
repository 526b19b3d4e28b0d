"""No answer is lost to pynetdicom's own thread, however late that thread is.

The lateness is made: a thread that is slow to leave its checkpoint is what a busy machine gives.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP

from service.settings import DimseDestination
from workers.delivery import dimse
from workers.delivery.reactor_pause import Checkpoint
from workers.delivery.stored_output import NoResponseError

LATE_SECONDS = 0.02
OBJECTS = 10


class Late:
    """Whoever passes is slow to go on."""

    def wait(self, timeout: float | None = None) -> bool:
        passed = super().wait(timeout)  # type: ignore[misc]
        time.sleep(LATE_SECONDS)
        return bool(passed)


class LateEvent(Late, threading.Event):
    """pynetdicom's own checkpoint, and a late thread."""


class LateCheckpoint(Late, Checkpoint):
    """Ours, and a late thread."""


def store(peer: StoreSCP, report: Path) -> list[int]:
    destination = DimseDestination(
        name="pacs", ae_title=peer.ae_title, host=peer.host, port=peer.port, response_seconds=2
    )
    with dimse.associate(destination, "LOBAR", dimse.OFFERED) as sender:
        return [sender.send(report).status for _ in range(OBJECTS)]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[threading.Event]], None]:
    """`hurried(kind)` has the answer come while sender and thread are both late, as a pair."""

    def arrange(kind: type[threading.Event]) -> None:
        def install(association: Any) -> None:  # noqa: ANN401 -- pynetdicom's
            gate = kind()
            gate.set()
            association._reactor_checkpoint = gate
            send = association.dimse.send_msg

            def send_and_dawdle(*message: object) -> None:
                send(*message)
                time.sleep(2 * LATE_SECONDS)

            association.dimse.send_msg = send_and_dawdle

        monkeypatch.setattr(dimse, "install", install)

    return arrange


@pytest.mark.dcmtk
def test_every_answer_arrives_however_late_the_associations_thread_is(
    storescp: Callable[..., StoreSCP],
    report: Path,
    hurried: Callable[[type[threading.Event]], None],
) -> None:
    hurried(LateCheckpoint)
    assert store(storescp(), report) == [0] * OBJECTS


@pytest.mark.dcmtk
def test_with_pynetdicoms_own_checkpoint_an_answer_is_lost(
    storescp: Callable[..., StoreSCP],
    report: Path,
    hurried: Callable[[type[threading.Event]], None],
) -> None:
    """When this fails pynetdicom has mended it, and `workers/delivery/reactor_pause.py` can go."""
    hurried(LateEvent)
    with pytest.raises(NoResponseError, match="no-answer"):
        store(storescp(), report)


def test_nobody_passes_a_checkpoint_once_it_is_closed() -> None:
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
        time.sleep(3 * LATE_SECONDS)
        assert len(passed) > before
    stop.set()
    gate.set()
    walker.join(5)
    gate.close(walker)  # type: ignore[arg-type]  # who has ended is not waited for
