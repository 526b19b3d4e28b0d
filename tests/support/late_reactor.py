"""A busy machine: threads of pynetdicom, and senders that use it, go on late."""

import threading
import time
from typing import Any, Final

import pytest
from pynetdicom.dimse import DIMSEServiceProvider

from service.dicom import reactor_pause

LATE_SECONDS: Final = 0.02


class Late:
    """A checkpoint after which a thread is slow to go on."""

    def wait(self, timeout: float | None = None) -> bool:
        passed = super().wait(timeout)  # type: ignore[misc]
        time.sleep(LATE_SECONDS)
        return bool(passed)


class LateEvent(Late, threading.Event):
    """pynetdicom's own checkpoint, and a late thread."""


class LateCheckpoint(Late, reactor_pause.Checkpoint):
    """Our checkpoint, and a late thread."""


def run_late(
    monkeypatch: pytest.MonkeyPatch, checkpoint: type[threading.Event] = LateCheckpoint
) -> None:
    """Have responses come while senders are late, and each thread late at such a checkpoint."""
    receive = DIMSEServiceProvider.get_msg

    def install(association: Any) -> None:  # noqa: ANN401 -- pynetdicom's own
        new = checkpoint()
        new.set()
        association._reactor_checkpoint = new

    def receive_late(self: Any, block: bool = False) -> Any:  # noqa: ANN401,FBT001,FBT002
        if block:  # as a sender does; the thread does not
            time.sleep(2 * LATE_SECONDS)
        return receive(self, block)

    monkeypatch.setattr("workers.delivery.dimse.install", install)
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", receive_late)
