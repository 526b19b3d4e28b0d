"""A C-STORE receiver as pynetdicom's documentation shows it: `event.dataset.save_as`.

    PYTHONPATH=tests .venv/bin/python -m bench.receivers.naive PORT FOLDER

It is a peer of the benchmark. Nothing is synced: a power cut loses what was answered.
"""

import sys
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.events import Event
from pynetdicom.presentation import AllStoragePresentationContexts, VerificationPresentationContexts
from support.system.ports import LOOPBACK

from service.dicom.statuses import SUCCESS


def handle_store(event: Event, folder: Path) -> int:
    """Save the instance under its UID."""
    dataset = event.dataset
    dataset.file_meta = event.file_meta
    dataset.save_as(folder / dataset.SOPInstanceUID, enforce_file_format=True)
    return int(SUCCESS)


def main() -> None:
    """Receive until the process is ended."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    entity = AE("NAIVE")
    entity.maximum_associations = 200
    for context in (*AllStoragePresentationContexts, *VerificationPresentationContexts):
        syntaxes = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.91"]
        entity.add_supported_context(context.abstract_syntax or "", syntaxes)
    handlers: list[Any] = [(evt.EVT_C_STORE, handle_store, [folder])]
    entity.start_server((LOOPBACK, port), block=True, evt_handlers=handlers)


if __name__ == "__main__":
    main()
