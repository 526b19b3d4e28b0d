"""A stand-in for a PACS: store the reports of a demonstration as files.

For the demonstration only. The tests use Orthanc and DCMTK as peers.
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

from service.dicom.statuses import SUCCESS

AE_TITLE: Final = "STANDINPACS"
LOOPBACK: Final = "127.0.0.1"
_KINDS: Final[dict[str, str]] = {
    Comprehensive3DSRStorage: "report",
    ComprehensiveSRStorage: "report",
    SecondaryCaptureImageStorage: "overlay",
}


class StandInPacs:
    """A storage SCP on loopback that writes each object to `directory`.

    The operating system chooses `port` when the server starts.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self._arrivals: dict[str, tuple[Path, float]] = {}

    def path(self, sop_instance_uid: str) -> Path | None:
        """Return the file of a stored object, or None if it has not arrived."""
        return self._arrivals.get(sop_instance_uid, (None, None))[0]

    def arrived_at(self, sop_instance_uid: str) -> float | None:
        """Return when an object was stored (seconds since the epoch), or None."""
        return self._arrivals.get(sop_instance_uid, (None, None))[1]

    @contextmanager
    def running(self) -> Iterator["StandInPacs"]:
        """Listen on loopback while the block runs."""
        self.directory.mkdir(parents=True, exist_ok=True)
        ae = AE(ae_title=AE_TITLE)
        for sop_class in _KINDS:
            ae.add_supported_context(sop_class, ExplicitVRLittleEndian)
        server = ae.start_server(
            (LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        if server is None:
            raise RuntimeError("pynetdicom returned no server, although it was not to block")
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            server.shutdown()

    def _store(self, event: Any) -> int:  # noqa: ANN401 -- pynetdicom's events are made at run time
        kind = _KINDS.get(str(event.request.AffectedSOPClassUID), "report")
        path = self.directory / f"{len(self._arrivals) + 1}-{kind}.dcm"
        path.write_bytes(event.encoded_dataset())
        self._arrivals[str(event.request.AffectedSOPInstanceUID)] = (path, time.time())
        return SUCCESS
