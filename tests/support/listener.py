"""A listener for one test, with access to its spool and ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
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
from service.receiving.listener.association import StoreAssociation
from service.settings import DicomSettings, Settings
from service.storage.spool import Spool
from support.migrated_ledger import open_ledger
from support.system.ports import LOOPBACK, free_port

CR = str(ComputedRadiographyImageStorage)
CR_EXPLICIT = ((CR, str(ExplicitVRLittleEndian)),)


class Stores:
    """A spool and a ledger, which outlive the listeners that run on them."""

    def __init__(self, folder: Path, ledger_url: str | None = None) -> None:
        self.folder = folder
        self.spool = Spool(folder / "spool")
        self.spool.prepare()
        self.ledger = open_ledger(ledger_url or f"sqlite:///{folder / 'ledger.sqlite3'}")

    def incoming(self) -> list[Path]:
        """List the files being received."""
        return sorted(self.spool.incoming.iterdir())

    def inbox(self) -> list[Path]:
        """List the accepted files."""
        return sorted((self.spool.root / "inbox").glob("??/*"))

    def jobs_of(self, sop_instance_uid: str) -> list[Job]:
        """List the jobs of one instance."""
        return self.ledger.queries.find(sop_instance_uid)


class RunningListener:
    """A running listener on a port of 127.0.0.1."""

    def __init__(self, listener: Listener, stores: Stores, notifications: list[str]) -> None:
        self._listener = listener
        self.stores = stores
        self.notifications = notifications
        self.port = listener.port

    def drain(self, seconds: float) -> None:
        """Drain the listener."""
        self._listener.drain(seconds)

    def associations(self) -> list[StoreAssociation]:
        """List the open associations."""
        return self._listener.associations()

    def connections_waiting(self) -> int:
        """Return how many connections have no association."""
        return self._listener._started().waiting()

    def is_free(self) -> bool:
        """Whether no association and no connection occupies the listener."""
        return not self.associations() and not self.connections_waiting()

    @property
    def tls_port(self) -> int:
        """The port for associations over TLS."""
        return self._listener.tls_port

    def sender(self, contexts: Any = CR_EXPLICIT, **names: Any) -> Sender:  # noqa: ANN401
        """Associate; by default for CR images in Explicit VR Little Endian."""
        return Sender(self.port, contexts, **names)

    def store(self, dataset: Dataset, data_set: bytes | None = None) -> int:
        """Store one instance on an association of its own and return the status."""
        syntax = str(dataset.file_meta.TransferSyntaxUID)
        sop_class, uid = str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
        encoded = data_set_bytes(dataset) if data_set is None else data_set
        with Sender(self.port, ((sop_class, syntax),)) as sender:
            status = sender.store(sop_class, uid, encoded)
            sender.release()
        return status

    def kept_data_set(self, sop_instance_uid: str) -> bytes:
        """Return the data set of the one instance with this UID, as stored in the inbox."""
        (job,) = self.stores.jobs_of(sop_instance_uid)
        return self.stores.spool.inbox(job.id).read_bytes()[-job.size_bytes :]

    def require_working(self) -> None:
        """Require that a C-ECHO and a C-STORE succeed."""
        with Sender(self.port, ((VERIFICATION, str(ImplicitVRLittleEndian)),)) as sender:
            assert sender.echo() == SUCCESS
            sender.release()
        dataset = make_cr(rows=8, columns=8)
        assert self.store(dataset) == SUCCESS
        assert self.kept_data_set(dataset.SOPInstanceUID) == data_set_bytes(dataset)


def settings_for(folder: Path, **dicom: Any) -> Settings:  # noqa: ANN401 -- any of the section
    """Build settings with a free port on loopback."""
    chosen = {"port": free_port(), "host": LOOPBACK, **dicom}
    return Settings(state_dir=folder, dicom=DicomSettings(**chosen))


@contextmanager
def listening(stores: Stores, **dicom: Any) -> Iterator[RunningListener]:  # noqa: ANN401 -- as above
    """Run a listener on these stores; a file left in `incoming` fails the test."""
    notifications: list[str] = []
    settings = settings_for(stores.folder, **dicom)
    notify = partial(notifications.append, "infer")
    with Listener(settings, stores.spool, stores.ledger, notify) as listener:
        yield RunningListener(listener, stores, notifications)
    assert stores.incoming() == []
