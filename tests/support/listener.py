"""A listener of a test's own, on a spool and ledger that it may look into."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers.raw_scu import VERIFICATION, Sender, data_set_bytes
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from synthetic.objects import make_cr

from service.dicom.statuses import SUCCESS
from service.domain.job import Job
from service.receiving.listener import Listener
from service.settings import DicomSettings, Settings
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from support.ports import LOOPBACK, free_port

CR = str(ComputedRadiographyImageStorage)
CR_EXPLICIT = ((CR, str(ExplicitVRLittleEndian)),)


class Memory:
    """A spool and a ledger, which outlive the listeners that are tried on them."""

    def __init__(self, folder: Path, ledger_url: str | None = None) -> None:
        self.folder = folder
        self.spool = Spool(folder / "spool")
        self.spool.prepare()
        self.ledger = Ledger(ledger_url or f"sqlite:///{folder / 'ledger.sqlite3'}")
        self.ledger.upgrade()

    def incoming(self) -> list[Path]:
        """What lies half-written."""
        return sorted(self.spool.incoming.iterdir())

    def inbox(self) -> list[Path]:
        """What was kept."""
        return sorted((self.spool.root / "inbox").glob("??/*"))

    def jobs_of(self, sop_instance_uid: str) -> list[Job]:
        """The jobs of one instance."""
        return self.ledger.queries.find(sop_instance_uid)


class Door:
    """A running listener on a port of 127.0.0.1."""

    def __init__(self, listener: Listener, memory: Memory, rings: list[str]) -> None:
        self.listener = listener
        self.memory = memory
        self.rings = rings
        self.port = listener.port

    def sender(self, contexts: Any = CR_EXPLICIT, **names: str) -> Sender:  # noqa: ANN401
        """Associate; by default for CR images in Explicit VR Little Endian."""
        return Sender(self.port, contexts, **names)

    def store(self, dataset: Dataset, data_set: bytes | None = None) -> int:
        """Store one instance on an association of its own and give the status."""
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        sop_class, uid = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
        encoded = data_set_bytes(dataset) if data_set is None else data_set
        with Sender(self.port, ((sop_class, syntax),)) as sender:
            status = sender.store(sop_class, uid, encoded)
            sender.release()
        return status

    def kept_data_set(self, sop_instance_uid: str) -> bytes:
        """The bytes of the one instance as they lie in the inbox, from the data set on."""
        (job,) = self.memory.jobs_of(sop_instance_uid)
        return self.memory.spool.inbox(job.id).read_bytes()[-job.size_bytes :]

    def require_working(self) -> None:
        """See that the service goes on: a C-ECHO and a C-STORE succeed."""
        with Sender(self.port, ((VERIFICATION, str(ImplicitVRLittleEndian)),)) as sender:
            assert sender.echo() == SUCCESS
            sender.release()
        dataset = make_cr(rows=8, columns=8)
        assert self.store(dataset) == SUCCESS
        assert self.kept_data_set(dataset.SOPInstanceUID) == data_set_bytes(dataset)


def settings_for(folder: Path, **dicom: Any) -> Settings:  # noqa: ANN401 -- any of the section
    """Settings with a port of their own and short patience."""
    chosen = {"port": free_port(), "host": LOOPBACK, **dicom}
    return Settings(state_dir=folder, dicom=DicomSettings(**chosen))


@contextmanager
def listening(memory: Memory, **dicom: Any) -> Iterator[Door]:  # noqa: ANN401 -- as above
    """Run a listener on this memory; what a test leaves in `incoming` is a fault."""
    rings: list[str] = []
    settings = settings_for(memory.folder, **dicom)
    with Listener(settings, memory.spool, memory.ledger, lambda: rings.append("infer")) as listener:
        yield Door(listener, memory, rings)
    assert memory.incoming() == []
