"""No response is lost to pynetdicom's reactor thread, however late that thread is.

A thread that is slow to leave its checkpoint stands in for a busy machine.
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
    """A checkpoint after which a thread is slow to go on."""

    def wait(self, timeout: float | None = None) -> bool:
        passed = super().wait(timeout)  # type: ignore[misc]
        time.sleep(LATE_SECONDS)
        return bool(passed)


class LateEvent(Late, threading.Event):
    """pynetdicom's own checkpoint, and a late thread."""


class LateCheckpoint(Late, Checkpoint):
    """Our checkpoint, and a late thread."""


def store(peer: StoreSCP, report: Path, checkpoint: threading.Event) -> list[int]:
    """Send a report again and again while sender and reactor thread are both late."""
    destination = DimseDestination(
        name="pacs", ae_title=peer.ae_title, host=peer.host, port=peer.port, response_seconds=2
    )
    with dimse.associate(destination, "LOBAR", dimse.OFFERED) as sender:
        delay(sender._association, checkpoint)
        return [sender.send(report).status for _ in range(OBJECTS)]


def delay(association: Any, checkpoint: threading.Event) -> None:  # noqa: ANN401 -- pynetdicom's
    """Have the response come while the sender is late and the thread is at this checkpoint."""
    checkpoint.set()
    association._reactor_checkpoint = checkpoint
    send = association.dimse.send_msg

    def send_late(*message: object) -> None:
        send(*message)
        time.sleep(2 * LATE_SECONDS)

    association.dimse.send_msg = send_late


@pytest.mark.dcmtk
def test_every_response_arrives_however_late_the_reactor_thread_is(
    storescp: Callable[..., StoreSCP], report: Path
) -> None:
    assert store(storescp(), report, LateCheckpoint()) == [0] * OBJECTS


@pytest.mark.dcmtk
def test_with_pynetdicoms_own_checkpoint_a_response_is_lost(
    storescp: Callable[..., StoreSCP], report: Path
) -> None:
    """If this fails, pynetdicom has been fixed and `workers/delivery/reactor_pause.py` can go."""
    with pytest.raises(NoResponseError, match="no-answer"):
        store(storescp(), report, LateEvent())


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
        time.sleep(3 * LATE_SECONDS)
        assert len(passed) > before
    stop.set()
    gate.set()
    walker.join(5)
    gate.close(walker)  # type: ignore[arg-type]  # a thread that has ended is not waited for
