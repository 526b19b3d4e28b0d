"""A stand-in for a PACS, for the demo alone: takes any report over C-STORE and writes it down.

It is no archive and proves nothing about one; the tests use Orthanc and DCMTK for that.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt

AE_TITLE: Final = "STANDINPACS"
LOOPBACK: Final = "127.0.0.1"
SUCCESS: Final = 0x0000
_TAKEN: Final = (Comprehensive3DSRStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage)


class StandInPacs:
    """Where reports went and when; `port` is chosen by the machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self._arrived_at: dict[str, float] = {}

    def path(self, sop_instance_uid: str) -> Path | None:
        """Give the file of an object that arrived; None when it did not."""
        arrived = sop_instance_uid in self._arrived_at
        return self.directory / f"{sop_instance_uid}.dcm" if arrived else None

    def arrived_at(self, sop_instance_uid: str) -> float | None:
        """Tell when an object was there (seconds since the epoch); None when it is not."""
        return self._arrived_at.get(sop_instance_uid)

    @contextmanager
    def running(self) -> Iterator["StandInPacs"]:
        """Listen on loopback while the block runs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        ae = AE(ae_title=AE_TITLE)
        for sop_class in _TAKEN:
            ae.add_supported_context(sop_class, ExplicitVRLittleEndian)
        server = ae.start_server(
            (LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        if server is None:
            raise RuntimeError("pynetdicom gives a server when it is not to block")
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            server.shutdown()

    def _store(self, event: Any) -> int:  # noqa: ANN401 -- pynetdicom's events are made at run time
        # what arrives here was made by Lobar, so its UID may name a file
        uid = str(event.request.AffectedSOPInstanceUID)
        (self.directory / f"{uid}.dcm").write_bytes(event.encoded_dataset())
        self._arrived_at[uid] = time.time()
        return SUCCESS
