"""The two destinations of a chaos run: Orthanc, and a scripted PACS that can misbehave."""

import hashlib
import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import httpx
import pydicom
from faults.chaos.verdict import Held
from peers.orthanc import OrthancServer
from peers.scripted_pacs import ScriptedPacs
from pydicom.dataset import Dataset

FULL: Final = 0xA700
WARNING: Final = 0xB000
SUCCESS: Final = 0x0000
HANG_SECONDS: Final = 4.5  # longer than `RESPONSE_SECONDS`
RESPONSE_SECONDS: Final = 3
_READERS: Final = 4
_TRIES: Final = 5


class Behaviour(StrEnum):
    """How the scripted PACS answers."""

    TAKES = "takes"
    SLOW = "slow"
    HANGS = "hangs"  # it stores, and answers when nobody waits any more
    FULL = "full"
    ABORTS = "aborts"  # it stores, and aborts instead of an answer
    WARNS = "warns"


def read_report(dataset: Dataset, sha256: str = "") -> Held:
    """Read which version of which instance a report is about.

    The version is in the accession number, which a report carries over from its source.
    """
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    return Held(
        report_uid=dataset.SOPInstanceUID,
        about=(
            reference.ReferencedSOPInstanceUID,
            int(dataset.AccessionNumber.removeprefix("VERSION-")),
        ),
        sha256=sha256,
    )


@dataclass
class FaultyPacs(ScriptedPacs):
    """A stand-in for a PACS that is down, slow, full, or aborts and warns when told so.

    It holds what it stored, in memory.
    """

    behaviour: Behaviour = Behaviour.TAKES
    held: list[Held] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    def open(self) -> None:
        """Begin to listen."""
        self._open.enter_context(self.running())

    def close(self) -> None:
        """Stop listening; its associations end."""
        self._open.close()

    def _store(self, event: Any) -> int:  # noqa: ANN401 -- pynetdicom's
        behaviour = self.behaviour
        if behaviour is Behaviour.FULL:
            return FULL
        encoded = event.request.DataSet.getvalue()
        digest = hashlib.sha256(encoded).hexdigest()
        self.held.append(read_report(event.dataset, f"{event.context.transfer_syntax} {digest}"))
        if behaviour is Behaviour.SLOW:
            time.sleep(0.3)
        elif behaviour is Behaviour.HANGS:
            time.sleep(HANG_SECONDS)
        elif behaviour is Behaviour.ABORTS:
            event.assoc.abort()
        return WARNING if behaviour is Behaviour.WARNS else SUCCESS


def held_by_orthanc(orthanc: OrthancServer, say: Callable[[str], None]) -> list[Held]:
    """Read every report that Orthanc holds, from its REST API."""
    limits = httpx.Limits(max_connections=_READERS, max_keepalive_connections=_READERS)
    with (
        httpx.Client(base_url=orthanc.http_url, limits=limits, timeout=120) as client,
        ThreadPoolExecutor(_READERS) as readers,
    ):
        names = _get(client, "/instances").json()
        say(f"reading {len(names)} instances from Orthanc")

        def read(name: str) -> Held:
            file = _get(client, f"/instances/{name}/file").content
            return read_report(pydicom.dcmread(io.BytesIO(file)))

        return list(readers.map(read, names))


def _get(client: httpx.Client, path: str) -> httpx.Response:
    """Ask Orthanc, again where it closed a kept connection as the request came."""
    for _ in range(_TRIES - 1):
        try:
            return client.get(path).raise_for_status()
        except httpx.RemoteProtocolError:
            continue
    return client.get(path).raise_for_status()
